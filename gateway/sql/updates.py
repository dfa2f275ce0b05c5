"""SQL of what changed for somebody: positions in the log first, rows after, all in one statement and so from one snapshot.

Positions and `audit.applied_offsets` are written in one transaction. So a snapshot that has a partition applied up to an offset
has every row below it, whichever transaction committed late.
"""

# ruff: noqa: S608 - statements are put together of constants

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.feed.bookmarks import Vector, vector_of
from gateway.sql.database import Database
from gateway.sql.requests import FREE_TO_VOTE

#: $1, $2: where to begin in which partition; others begin at 0.
_STARTS = """applied AS MATERIALIZED (
  SELECT a.partition, a.next_offset, coalesce(c.start, 0) AS start FROM audit.applied_offsets a
  LEFT JOIN unnest($1::int[], $2::bigint[]) AS c(partition, start) ON c.partition = a.partition)"""
_ANSWER = """SELECT now() AS server_time,
  ARRAY(SELECT partition FROM applied ORDER BY partition) AS partitions,
  ARRAY(SELECT next_offset FROM applied ORDER BY partition) AS applied,"""
#: One row whatever is found: a column of each.
_FOUND = """(SELECT array_agg(id) AS ids, array_agg(document) AS documents, array_agg(left_by) AS left_by,
    array_agg(partition) AS row_partitions, array_agg(log_offset) AS row_offsets
  FROM (SELECT * FROM rows ORDER BY partition, log_offset) ordered) found"""

#: $3: the requester. How many rows at most is a part of the statement here and below: else PostgreSQL takes it for a tenth of all.
_OWN = f"""WITH {_STARTS},
page AS MATERIALIZED (
  SELECT a.partition, x.log_offset, x.id FROM applied a CROSS JOIN LATERAL (
    SELECT r.id, r.log_offset FROM requests.requests r
    WHERE r.requester_id = $3 AND r.partition = a.partition AND r.log_offset >= a.start ORDER BY r.log_offset LIMIT {{limit}}) x
  ORDER BY a.partition, x.log_offset LIMIT {{limit}}),
rows AS (
  SELECT partition, log_offset, id::text AS id, (SELECT r.document FROM requests.requests r WHERE r.id = page.id) AS document,
    NULL::text AS left_by
  FROM page)
{_ANSWER} found.* FROM {_FOUND}"""

_CONCERNED = "(p.waiting OR p.decided OR p.left_by IS NOT NULL)"
#: Whether the caller has it: it waits for them, or for somebody for whom they may vote on it (as in `/approvals/incoming`: it is
#: not their own, and the vote is not used up), or they voted. $3: these people, $4: the caller.
_FREE = FREE_TO_VOTE.format(user="$4", person="q.approver_id").replace("p.request_id", "page.request_id")
_THEIRS = f"""EXISTS (SELECT FROM requests.participants q JOIN requests.requests r ON r.id = q.request_id
    WHERE q.request_id = page.request_id AND (q.approver_id = $4 AND (q.waiting OR q.decided)
      OR q.approver_id = ANY($3::text[]) AND q.waiting AND {_FREE}))"""
_SHOWN = f"""rows AS (
  SELECT partition, log_offset, request_id::text AS id, left_by,
    CASE WHEN theirs THEN (SELECT r.document FROM requests.requests r WHERE r.id = request_id) END AS document
  FROM (SELECT page.*, {_THEIRS} AS theirs FROM page) judged WHERE theirs OR gone)
{_ANSWER}
  ARRAY(SELECT partition FROM page ORDER BY partition, log_offset) AS page_partitions,
  ARRAY(SELECT log_offset FROM page ORDER BY partition, log_offset) AS page_offsets, found.* FROM {_FOUND}"""

#: $3: for whom, $4: the caller, $5: what is gone is told also where nothing was given yet.
_APPROVALS = f"""WITH {_STARTS},
page AS MATERIALIZED (
  SELECT a.partition, x.*, a.start > 0 OR $5 AS gone
  FROM applied a CROSS JOIN unnest($3::text[]) AS f(principal) CROSS JOIN LATERAL (
    SELECT p.log_offset, p.request_id, p.left_by FROM requests.participants p
    WHERE p.approver_id = f.principal AND p.partition = a.partition AND p.log_offset >= a.start AND {_CONCERNED}
      AND (p.waiting OR p.decided OR a.start > 0 OR $5)
    ORDER BY p.log_offset LIMIT {{limit}}) x
  ORDER BY a.partition, x.log_offset LIMIT {{limit}}),
{_SHOWN}"""

#: Those for whom the caller began to decide: what waits for $5 and lies before the vector, from the position ($6, $7) on.
_JOINED = f"""WITH {_STARTS},
page AS MATERIALIZED (
  SELECT a.partition, x.*, false AS gone FROM applied a CROSS JOIN LATERAL (
    SELECT p.log_offset, p.request_id, p.left_by FROM requests.participants p
    WHERE p.approver_id = $5 AND p.partition = a.partition AND p.log_offset < a.start AND {_CONCERNED} AND p.waiting
      AND p.log_offset >= CASE WHEN a.partition = $6 THEN $7::bigint ELSE 0 END
    ORDER BY p.log_offset LIMIT {{limit}}) x
  WHERE a.partition >= $6 ORDER BY a.partition, x.log_offset LIMIT {{limit}}),
{_SHOWN}"""

#: Those for whom the caller no longer decides: what waits for $5, or did since the vector, and is not the caller's otherwise.
_LEFT = f"""WITH {_STARTS},
page AS MATERIALIZED (
  SELECT a.partition, x.log_offset, x.request_id, CASE WHEN x.waiting THEN 'delegation' ELSE x.left_by END AS left_by, true AS gone
  FROM applied a CROSS JOIN LATERAL (
    SELECT p.log_offset, p.request_id, p.left_by, p.waiting FROM requests.participants p
    WHERE p.approver_id = $5 AND p.partition = a.partition AND {_CONCERNED} AND (p.waiting OR p.log_offset >= a.start)
      AND p.log_offset >= CASE WHEN a.partition = $6 THEN $7::bigint ELSE 0 END
    ORDER BY p.log_offset LIMIT {{limit}}) x
  WHERE a.partition >= $6 ORDER BY a.partition, x.log_offset LIMIT {{limit}}),
{_SHOWN}"""

_MARKS = """SELECT DISTINCT ON (partition) partition, next_offset FROM audit.sync_marks WHERE at <= $1
ORDER BY partition, at DESC"""


@dataclass(frozen=True, slots=True)
class Changed:
    """`document` None: it is gone, by the action `left_by`."""

    partition: int
    log_offset: int
    id: str
    document: str | None
    left_by: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """`last` is the position of the last one looked at when there are
    more, None at the end. `applied`: what the snapshot had of each partition."""

    server_time: datetime
    applied: dict[int, int]
    rows: list[Changed]
    last: tuple[int, int] | None


def _starts(vector: Vector) -> tuple[list[int], list[int]]:
    return list(vector), list(vector.values())


async def _ask(database: Database, statement: str, limit: int, *values: Any) -> Any:
    """The one row that each of these statements has."""
    return await database.row(statement.format(limit=limit + 1), *values)


async def own(database: Database, user_id: str, vector: Vector, limit: int) -> Found:
    """Requests of the user that changed at or after the vector."""
    row = await _ask(database, _OWN, limit, *_starts(vector), user_id)
    return _found(row, row["row_partitions"] or [], row["row_offsets"] or [], limit)


async def approvals(
    database: Database, user_id: str, principals: Sequence[str], vector: Vector, limit: int, *, told: bool
) -> Found:
    """Requests that wait for one of `principals` or that the user voted on (`document`), and those that no longer do (none),
    of what changed at or after the vector."""
    row = await _ask(database, _APPROVALS, limit, *_starts(vector), list(principals), user_id, told)
    return _found(row, row["page_partitions"], row["page_offsets"], limit)


async def of_one(
    database: Database,
    user_id: str,
    principals: Sequence[str],
    vector: Vector,
    limit: int,
    who: str,
    at: tuple[int, int],
    *,
    joins: bool,
) -> Found:
    """What waits for `who`, and lies before the vector, where they have come to be one of `principals` (`joins`); else what waited
    for them when the vector was given, and is not the user's for another reason.
    """
    statement = _JOINED if joins else _LEFT
    row = await _ask(database, statement, limit, *_starts(vector), list(principals), user_id, who, *at)
    return _found(row, row["page_partitions"], row["page_offsets"], limit)


def _found(row: Any, partitions: Sequence[int], offsets: Sequence[int], limit: int) -> Found:
    """The columns as rows, up to the limit of what was looked at."""
    last = (partitions[limit - 1], offsets[limit - 1]) if len(offsets) > limit else None
    columns = [row[name] or () for name in ("row_partitions", "row_offsets", "ids", "documents", "left_by")]
    rows = [Changed(*one) for one in zip(*columns, strict=True) if last is None or one[:2] <= last]
    return Found(row["server_time"], vector_of(row["partitions"], row["applied"]), rows, last)


async def applied(database: Database) -> dict[int, int]:
    """What of each partition is applied."""
    rows = await database.rows("SELECT partition, next_offset FROM audit.applied_offsets")
    return {row["partition"]: row["next_offset"] for row in rows}


async def before(database: Database, moment: datetime) -> dict[int, int]:
    """Offsets below which everything had been committed by that moment; none where that is not known."""
    rows = await database.rows(_MARKS, moment)
    return {row["partition"]: row["next_offset"] for row in rows}
