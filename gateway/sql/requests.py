"""SQL of requests: one, and those that wait for somebody. What the caller may not see is not found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from datetime import datetime
from typing import Any

from gateway.identity.callers import Caller
from gateway.sql.database import Database, Row

#: Whether the caller may see request `r`. $2: the caller sees all; $3: the caller; $4: the caller is a manager; $5: the caller, and
#: whose delegate they are.
VISIBLE = """($2 OR r.requester_id = $3 OR ($4 AND EXISTS (
  SELECT FROM requests.participants p WHERE p.request_id = r.id AND p.approver_id = ANY($5))))"""
_ONE = f"SELECT r.version, r.document FROM requests.requests r WHERE r.id = $1::uuid AND {VISIBLE}"  # noqa: S608 - constants
_OWN = "SELECT id::text AS id FROM requests.requests WHERE id = ANY($1::uuid[]) AND requester_id = $2"

_JOINED = """SELECT r.id::text AS id, r.created_at, r.document
FROM requests.participants p JOIN requests.requests r ON r.id = p.request_id"""

_BY_PARTICIPANT = "p.created_at DESC, p.request_id DESC"
#: How long the read side gets to show a request that was filed a moment ago, in seconds.
_READ_SIDE_LAG = 2.0


async def find(database: Database, request_id: str, caller: Caller) -> Row | None:
    """`version` and `document` of a request that the caller may see."""
    return await database.row(
        _ONE, request_id, caller.sees_all, caller.id, "manager" in caller.roles, list(caller.principals)
    )


async def own_of(
    database: Database, request_ids: Collection[str], user_id: str, patience: float = _READ_SIDE_LAG
) -> set[str]:
    """Those that are requests of that user. One that was filed a moment ago gets 2 s to reach the read side."""
    until = time.monotonic() + patience
    wanted = set(request_ids)
    while True:
        found = {row["id"] for row in await database.rows(_OWN, list(wanted), user_id)}
        if found == wanted or time.monotonic() > until:
            return found
        await asyncio.sleep(0.05)


class _Select:
    """Builds one statement: conditions on constants, values as parameters."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def bind(self, value: Any, type_: str) -> str:
        self.values.append(value)
        return f"${len(self.values)}::{type_}"

    def after(self, position: tuple[datetime, str] | None, created: str, id_: str) -> list[str]:
        if position is None:
            return []
        return [f"({created}, {id_}) < ({self.bind(position[0], 'timestamptz')}, {self.bind(position[1], 'uuid')})"]


#: Of a request that waits for somebody: neither they nor who votes for them have used their one vote on it up, at a level before
#: or in another's name; nor is it the voter's own.
FREE_TO_VOTE = """r.requester_id <> {user} AND NOT EXISTS (
  SELECT FROM requests.votes v JOIN requests.history h ON h.request_id = v.request_id AND h.version = v.version
  WHERE v.request_id = p.request_id AND ARRAY[v.approver_id, h.actor_id] && ARRAY[{user}, {person}])"""


async def waiting_for(database: Database, caller: Caller, after: tuple[datetime, str] | None, limit: int) -> list[Row]:
    """A page of the pending requests whose open level waits for the caller's vote, in their own name or as a delegate."""
    select = _Select()
    user = select.bind(caller.id, "text")
    later = select.after(after, "p.created_at", "p.request_id")
    parts = []
    for person in (user, *(select.bind(one, "text") for one in caller.stands_for)):
        where = [f"p.approver_id = {person}", "p.waiting", *later, FREE_TO_VOTE.format(user=user, person=person)]
        parts.append(_ordered(where, limit))
    return await database.rows(_together(parts, limit, distinct=bool(caller.stands_for)), *select.values)


def _together(parts: list[str], limit: int, *, distinct: bool) -> str:
    """One page of several, each in order and cut at the limit. `distinct`: a request may be on more than one of them."""
    if len(parts) == 1:
        return parts[0]
    union = " UNION ALL ".join(f"({part})" for part in parts)
    once = "DISTINCT ON (u.created_at, u.id) " if distinct else ""
    return f"SELECT {once}* FROM ({union}) u ORDER BY u.created_at DESC, u.id DESC LIMIT {limit + 1}"  # noqa: S608


def _ordered(where: list[str], limit: int) -> str:
    return f"{_JOINED} WHERE {' AND '.join(where)} ORDER BY {_BY_PARTICIPANT} LIMIT {limit + 1}"
