"""SQL of lists of requests, by age. Whatever their length and filters, what is read is bounded (docs/adr/0027).

A list without a status is those of all statuses, merged: each is a walk of one index, as far as a page is long. `since` has no such
index, since what changed is not in the order of age: few that changed are looked at all, else the list is walked to a bound.
"""

# ruff: noqa: S608 - statements are put together of constants, values are parameters

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.identity.callers import Caller
from gateway.sql.database import Database, Row
from schemas.state import Status

#: A place in a list by age: when the request was filed, and its id.
Position = tuple[datetime, str]

#: So many that changed are looked at one by one.
FEW = 2_000
#: Else so many of each walk are looked at for one page, and so many in all.
STEP, STEPS = 500, 8_000

_STATUSES = [status.value for status in Status]


@dataclass(frozen=True, slots=True)
class Listed:
    """A page: `id`, `created_at` and `document` of each, and where the next page begins, None at the end."""

    rows: list[Row]
    next: Position | None


@dataclass(frozen=True, slots=True)
class Filters:
    """What a caller asks for."""

    status: str | None = None
    category_id: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Walk:
    """Whose lists are in a table, and the conditions of the index with and without a category: every row fulfils them, and without
    them PostgreSQL does not take the index (migration 11). So it takes no other list's.
    """

    table: str
    alias: str
    id: str
    index: str
    index_by_category: str


_ALL = _Walk("requests.requests", "r", "r.id", "r.version <> -1", "r.version <> -2")
_OWN = _Walk("requests.requests", "r", "r.id", "r.version <> -3", "true")
_THEIRS = _Walk("requests.participants", "p", "p.request_id", "p.partition <> -1", "true")


class _Statement:
    """The caller's lists and filters as SQL. Which parts it has hangs on what was asked for, so each form has plans of its own."""

    def __init__(self, caller: Caller, filters: Filters, after: Position | None) -> None:
        self.values: list[Any] = []
        self._caller = caller
        self.statuses = self.bind([filters.status] if filters.status else _STATUSES, "text[]")
        self._category = None if filters.category_id is None else self.bind(filters.category_id, "text")
        self._after = "" if after is None else f"({self.bind(after[0], 'timestamptz')}, {self.bind(after[1], 'uuid')})"
        self._user = None if caller.sees_all else self.bind(caller.id, "text")
        manages = "manager" in caller.roles and not caller.sees_all
        self._people = self.bind(list(caller.principals), "text[]") if manages else None
        self.sources = (1 if filters.status else len(_STATUSES)) * (1 + (len(caller.principals) if manages else 0))

    @property
    def merged(self) -> bool:
        """Whether one request may be on more than one of the lists."""
        return self._people is not None

    def bind(self, value: Any, type_: str) -> str:
        self.values.append(value)
        return f"${len(self.values)}::{type_}"

    def walks(self, length: int, number: str = "") -> str:
        """`created_at` and `id` of the newest `length` of each list and status. `number`: the name of a column that counts."""
        if self._user is None:
            walks = [self._walk("", _ALL, "true", length, number)]
        else:
            walks = [self._walk("", _OWN, f"r.requester_id = {self._user}", length, number)]
        if self._people is not None:
            people = f"unnest({self._people}) AS a(approver_id) CROSS JOIN "
            walks.append(self._walk(people, _THEIRS, "p.approver_id = a.approver_id", length, number))
        return " UNION ALL ".join(walks)

    def _walk(self, people: str, walk: _Walk, whose: str, length: int, number: str) -> str:
        index = walk.index if self._category is None else walk.index_by_category
        where = " AND ".join([whose, f"{walk.alias}.status = s.status", index, *self.filters(walk.alias, walk.id)])
        order = f"{walk.alias}.created_at DESC, {walk.id} DESC"
        numbered = f", row_number() OVER (ORDER BY {order}) AS {number}" if number else ""
        return f"""SELECT x.* FROM {people}unnest({self.statuses}) AS s(status) CROSS JOIN LATERAL (
    SELECT {walk.alias}.created_at, {walk.id} AS id{numbered} FROM {walk.table} {walk.alias}
    WHERE {where} ORDER BY {order} LIMIT {length}) x"""

    def filters(self, t: str, id_: str) -> list[str]:
        """Conditions on category and position."""
        found = [] if self._category is None else [f"{t}.category_id = {self._category}"]
        return found if not self._after else [*found, f"({t}.created_at, {id_}) < {self._after}"]

    def seen(self, t: str) -> list[str]:
        """Whether a request is on one of the lists; each participant is looked up by key, one by one."""
        if self._user is None:
            return []
        if self._people is None:
            return [f"{t}.requester_id = {self._user}"]
        theirs = f"p.request_id = {t}.id AND p.approver_id = ANY({self._people})"
        return [
            f"({t}.requester_id = {self._user} OR (SELECT true FROM requests.participants p WHERE {theirs} LIMIT 1))"
        ]


_BY_AGE = "ORDER BY created_at DESC, id DESC"
_DOCUMENTS = """SELECT r.id::text AS id, r.created_at, r.document FROM page JOIN requests.requests r ON r.id = page.id
ORDER BY page.created_at DESC, page.id DESC"""


async def page(database: Database, caller: Caller, filters: Filters, after: Position | None, limit: int) -> Listed:
    """Newest first: admins and auditors get all; everybody else their own and, as a manager, those that they, or whose delegate
    they are, are or were on. With `since` a page may be shorter than `limit` although another follows.
    """
    statement = _Statement(caller, filters, after)
    if filters.since is None:
        rows = await database.rows(_newest(statement, limit), *statement.values)
    elif await database.value(_many(), filters.since):
        return await _walked(database, statement, filters.since, limit)
    else:
        rows = await database.rows(_changed(statement, filters.since, limit), *statement.values)
    return cut(rows, limit)


def cut(rows: Sequence[Row], limit: int) -> Listed:
    """A page of rows of which one more than `limit` was asked for."""
    shown = list(rows[:limit])
    return Listed(shown, (shown[-1]["created_at"], shown[-1]["id"]) if len(rows) > limit else None)


def _newest(statement: _Statement, limit: int) -> str:
    once = "DISTINCT " if statement.merged else ""
    return f"""WITH page AS (SELECT {once}created_at, id FROM ({statement.walks(limit + 1)}) u {_BY_AGE} LIMIT {limit + 1})
{_DOCUMENTS}"""


def _many() -> str:
    return f"""SELECT count(*) > {FEW} FROM (
  SELECT FROM requests.requests WHERE updated_at >= $1 ORDER BY updated_at LIMIT {FEW + 1}) c"""


def _changed(statement: _Statement, since: datetime, limit: int) -> str:
    """Those that changed are few, and twice as many if some came since they were counted."""
    moment = statement.bind(since, "timestamptz")
    where = [f"c.status = ANY({statement.statuses})", *statement.filters("c", "c.id"), *statement.seen("c")]
    return f"""WITH page AS (
  SELECT c.created_at, c.id FROM (
    SELECT r.id, r.created_at, r.status, r.category_id, r.requester_id FROM requests.requests r
    WHERE r.updated_at >= {moment} ORDER BY r.updated_at LIMIT {2 * FEW}) c
  WHERE {" AND ".join(where)} ORDER BY c.created_at DESC, c.id DESC LIMIT {limit + 1})
{_DOCUMENTS}"""


async def _walked(database: Database, statement: _Statement, since: datetime, limit: int) -> Listed:
    """As far as every walk has come, which is its `edge`: further down there may be others."""
    step = max(1, min(STEP, STEPS // statement.sources))
    moment = statement.bind(since, "timestamptz")
    once = "DISTINCT " if statement.merged else ""
    rows = await database.rows(
        f"""WITH walked AS MATERIALIZED ({statement.walks(step, "number")}),
edge AS (SELECT created_at, id FROM walked WHERE number = {step} {_BY_AGE} LIMIT 1),
page AS (
  SELECT w.created_at, w.id FROM (SELECT {once}created_at, id FROM walked {_BY_AGE} OFFSET 0) w
  WHERE coalesce((w.created_at, w.id) >= (SELECT created_at, id FROM edge), true)
    AND (w.created_at >= {moment} OR (SELECT r.updated_at >= {moment} FROM requests.requests r WHERE r.id = w.id))
  ORDER BY w.created_at DESC, w.id DESC LIMIT {limit + 1}),
rows AS ({_DOCUMENTS})
SELECT rows.*, edge.created_at AS edge_at, edge.id::text AS edge_id
FROM (SELECT) AS always LEFT JOIN edge ON true LEFT JOIN rows ON true ORDER BY rows.created_at DESC, rows.id::uuid DESC""",
        *statement.values,
    )
    edge = None if rows[0]["edge_at"] is None else (rows[0]["edge_at"], rows[0]["edge_id"])
    found = cut([row for row in rows if row["id"] is not None], limit)
    return found if found.next is not None else Listed(found.rows, edge)
