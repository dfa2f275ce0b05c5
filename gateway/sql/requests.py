"""SQL of requests: one, and pages of them. What the caller may not see is not found."""

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

_COLUMNS = "SELECT r.id::text AS id, r.created_at, r.document FROM requests.requests r"
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

    def conditions(self, status: str | None, category_id: str | None, since: datetime | None) -> list[str]:
        found = []
        if status is not None:
            found.append(f"r.status = {self.bind(status, 'text')}")
        if category_id is not None:
            found.append(f"r.category_id = {self.bind(category_id, 'text')}")
        if since is not None:
            found.append(f"r.updated_at >= {self.bind(since, 'timestamptz')}")
        return found

    def after(self, position: tuple[datetime, str] | None, created: str, id_: str) -> list[str]:
        if position is None:
            return []
        return [f"({created}, {id_}) < ({self.bind(position[0], 'timestamptz')}, {self.bind(position[1], 'uuid')})"]


async def page(
    database: Database,
    caller: Caller,
    *,
    status: str | None,
    category_id: str | None,
    since: datetime | None,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Row]:
    """`id`, `created_at` and `document`, newest first, one more than `limit` when there are more.

    Admins and auditors get all; everybody else their own and, as a manager, those that they, or whose delegate they are, are or
    were on.
    """
    select = _Select()
    own = select.after(after, "r.created_at", "r.id") + select.conditions(status, category_id, since)
    if caller.sees_all:
        return await database.rows(_ordered(_COLUMNS, own, limit), *select.values)
    user = select.bind(caller.id, "text")
    parts = [_ordered(_COLUMNS, [f"r.requester_id = {user}", *own], limit)]
    if "manager" in caller.roles:
        joined = select.after(after, "p.created_at", "p.request_id") + select.conditions(status, category_id, since)
        joined.append(f"r.requester_id <> {user}")
        parts += [
            _ordered(_JOINED, [f"p.approver_id = {person}", *joined], limit, _BY_PARTICIPANT)
            for person in (user, *(select.bind(one, "text") for one in caller.stands_for))
        ]
    return await database.rows(_together(parts, limit, distinct=bool(caller.stands_for)), *select.values)


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
        parts.append(_ordered(_JOINED, where, limit, _BY_PARTICIPANT))
    return await database.rows(_together(parts, limit, distinct=bool(caller.stands_for)), *select.values)


def _together(parts: list[str], limit: int, *, distinct: bool) -> str:
    """One page of several, each in order and cut at the limit. `distinct`: a request may be on more than one of them."""
    if len(parts) == 1:
        return parts[0]
    union = " UNION ALL ".join(f"({part})" for part in parts)
    once = "DISTINCT ON (u.created_at, u.id) " if distinct else ""
    return f"SELECT {once}* FROM ({union}) u ORDER BY u.created_at DESC, u.id DESC LIMIT {limit + 1}"  # noqa: S608


def _ordered(columns: str, where: list[str], limit: int, order: str = "r.created_at DESC, r.id DESC") -> str:
    condition = f" WHERE {' AND '.join(where)}" if where else ""
    return f"{columns}{condition} ORDER BY {order} LIMIT {limit + 1}"
