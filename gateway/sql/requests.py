"""SQL of requests: one, and pages of them. What the caller may not see is not found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from datetime import datetime
from typing import Any

from gateway.identity.callers import Caller
from gateway.sql.database import Database, Row

#: Whether the caller may see request `r`. $2: the caller sees all; $3: the caller; $4: the caller is a manager.
VISIBLE = """($2 OR r.requester_id = $3 OR ($4 AND EXISTS (
  SELECT FROM requests.participants p WHERE p.request_id = r.id AND p.approver_id = $3)))"""
_ONE = f"SELECT r.version, r.document FROM requests.requests r WHERE r.id = $1::uuid AND {VISIBLE}"  # noqa: S608 - constants
_OWN = "SELECT id::text AS id FROM requests.requests WHERE id = ANY($1::uuid[]) AND requester_id = $2"

_COLUMNS = "SELECT r.id::text AS id, r.created_at, r.document FROM requests.requests r"
_JOINED = """SELECT r.id::text AS id, r.created_at, r.document
FROM requests.participants p JOIN requests.requests r ON r.id = p.request_id"""

#: How long the read side gets to show a request that was filed a moment ago, in seconds.
_READ_SIDE_LAG = 2.0


async def find(database: Database, request_id: str, caller: Caller) -> Row | None:
    """`version` and `document` of a request that the caller may see."""
    return await database.row(_ONE, request_id, caller.sees_all, caller.id, "manager" in caller.roles)


async def own_of(database: Database, request_ids: Collection[str], user_id: str) -> set[str]:
    """Those that are requests of that user. One that was filed a moment ago gets 2 s to reach the read side."""
    until = time.monotonic() + _READ_SIDE_LAG
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

    Admins and auditors get all; everybody else their own and, as a manager, those they are or were on.
    """
    select = _Select()
    own = select.after(after, "r.created_at", "r.id") + select.conditions(status, category_id, since)
    if caller.sees_all:
        return await database.rows(_ordered(_COLUMNS, own, limit), *select.values)
    user = select.bind(caller.id, "text")
    parts = [_ordered(_COLUMNS, [f"r.requester_id = {user}", *own], limit)]
    if "manager" in caller.roles:
        joined = [f"p.approver_id = {user}", *select.after(after, "p.created_at", "p.request_id")]
        joined += select.conditions(status, category_id, since)
        joined.append(f"r.requester_id <> {user}")
        parts.append(_ordered(_JOINED, joined, limit, "p.created_at DESC, p.request_id DESC"))
        union = " UNION ALL ".join(f"({part})" for part in parts)
        parts = [f"SELECT * FROM ({union}) u ORDER BY u.created_at DESC, u.id DESC LIMIT {limit + 1}"]  # noqa: S608
    return await database.rows(parts[0], *select.values)


async def waiting_for(database: Database, user_id: str, after: tuple[datetime, str] | None, limit: int) -> list[Row]:
    """A page of the pending requests whose open level waits for this approver's vote."""
    select = _Select()
    where = [f"p.approver_id = {select.bind(user_id, 'text')}", "p.waiting"]
    where += select.after(after, "p.created_at", "p.request_id")
    return await database.rows(_ordered(_JOINED, where, limit, "p.created_at DESC, p.request_id DESC"), *select.values)


def _ordered(columns: str, where: list[str], limit: int, order: str = "r.created_at DESC, r.id DESC") -> str:
    condition = f" WHERE {' AND '.join(where)}" if where else ""
    return f"{columns}{condition} ORDER BY {order} LIMIT {limit + 1}"
