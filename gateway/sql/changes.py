"""SQL of what changed on the whole, for live events: requests at or after a vector, with who is or was on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.feed.bookmarks import Vector, vector_of
from gateway.sql.database import Database

#: $1, $2: where to begin, $3, $4: where to end, each by partition: others begin at 0 and end at what is applied. How many
#: rows at most is a part of the statement: else PostgreSQL takes it for a tenth of all.
#: A request lies at its newest event, and also where somebody no longer had to act, for good: whatever happens to it later, they
#: are told. Each is looked up to the limit by itself, so that nothing below the last row of a page is left out.
_CHANGES = """WITH applied AS MATERIALIZED (
  SELECT a.partition, a.next_offset, coalesce(b.at, 0) AS start, least(coalesce(e.at, a.next_offset), a.next_offset) AS ends
  FROM audit.applied_offsets a
  LEFT JOIN unnest($1::int[], $2::bigint[]) AS b(partition, at) ON b.partition = a.partition
  LEFT JOIN unnest($3::int[], $4::bigint[]) AS e(partition, at) ON e.partition = a.partition),
page AS MATERIALIZED (
  SELECT a.partition, x.* FROM applied a CROSS JOIN LATERAL (
    (SELECT r.log_offset, r.id FROM requests.requests r
     WHERE r.partition = a.partition AND r.log_offset >= a.start AND r.log_offset < a.ends{seen}
     ORDER BY r.log_offset LIMIT {limit})
    UNION
    (SELECT DISTINCT p.log_offset, p.request_id FROM requests.participants p
     WHERE p.partition = a.partition AND p.log_offset >= a.start AND p.log_offset < a.ends AND p.left_by IS NOT NULL{theirs}
     ORDER BY p.log_offset, p.request_id LIMIT {limit})
    ORDER BY log_offset LIMIT {limit}) x
  ORDER BY a.partition, x.log_offset LIMIT {limit}),
rows AS (
  SELECT g.partition, g.log_offset, r.id::text AS id, r.requester_id, r.document, r.log_offset = g.log_offset AS newest,
    extract(epoch FROM clock_timestamp() - r.updated_at)::float8 AS age,
    (SELECT json_agg(json_build_array(p.approver_id, p.waiting, p.decided, p.left_by, p.log_offset))::text
     FROM requests.participants p WHERE p.request_id = g.id) AS people
  FROM page g JOIN requests.requests r ON r.id = g.id)
SELECT ARRAY(SELECT partition FROM applied ORDER BY partition) AS partitions,
  ARRAY(SELECT next_offset FROM applied ORDER BY partition) AS applied, found.*
FROM (SELECT array_agg(partition) AS row_partitions, array_agg(log_offset) AS row_offsets, array_agg(id) AS ids,
    array_agg(requester_id) AS requesters, array_agg(document) AS documents, array_agg(newest) AS newest, array_agg(age) AS ages,
    array_agg(people) AS people
  FROM (SELECT * FROM rows ORDER BY partition, log_offset) ordered) found"""
_ALL = _CHANGES.format(seen="", theirs="", limit="{limit}")
#: $5: everything is seen; else what $6 filed, what they are or were on ($7: as a manager), what waits for one of $8.
_SEEN = _CHANGES.format(
    limit="{limit}",
    seen="""
      AND ($5 OR r.requester_id = $6 OR $7 AND EXISTS (
        SELECT FROM requests.participants q WHERE q.request_id = r.id
          AND (q.approver_id = $6 OR q.waiting AND q.approver_id = ANY($8::text[]))))""",
    theirs="""
       AND $7 AND p.approver_id = ANY($8::text[])""",
)


@dataclass(frozen=True, slots=True)
class Concern:
    """Somebody on a request: `left_by` and `log_offset` say when they no longer had to act, if they do not."""

    waiting: bool
    decided: bool
    left_by: str | None
    log_offset: int


@dataclass(frozen=True, slots=True)
class Change:
    """A request as it is now, at its newest event or (not `newest`) where somebody no longer had to act; how old the newest one is,
    in seconds.
    """

    partition: int
    log_offset: int
    id: str
    requester_id: str
    document: str
    newest: bool
    age: float
    people: dict[str, Concern]


@dataclass(frozen=True, slots=True)
class Changes:
    """`last` is the position of the last row when there are more, None at the end."""

    applied: dict[int, int]
    rows: list[Change]
    last: tuple[int, int] | None


async def since(database: Database, vector: Vector, limit: int) -> Changes:
    """Everything that changed at or after the vector."""
    return await _changes(database, _ALL, vector, {}, limit)


async def seen_by(
    database: Database,
    vector: Vector,
    ends: Vector,
    limit: int,
    *,
    sees_all: bool,
    user_id: str,
    manages: bool,
    principals: Sequence[str],
) -> Changes:
    """What changed at or after the vector and before `ends`, and that somebody may see or no longer has to act on."""
    return await _changes(database, _SEEN, vector, ends, limit, sees_all, user_id, manages, list(principals))


async def _changes(
    database: Database, statement: str, vector: Vector, ends: Vector, limit: int, *whose: Any
) -> Changes:
    row: Any = await database.row(
        statement.format(limit=limit + 1), list(vector), list(vector.values()), list(ends), list(ends.values()), *whose
    )
    names = ("row_partitions", "row_offsets", "ids", "requesters", "documents", "newest", "ages")
    people = (_people(text) for text in row["people"] or ())
    rows = [Change(*one) for one in zip(*(row[name] or () for name in names), people, strict=True)]
    last = (rows[limit - 1].partition, rows[limit - 1].log_offset) if len(rows) > limit else None
    return Changes(vector_of(row["partitions"], row["applied"]), rows[:limit], last)


def _people(text: str | None) -> dict[str, Concern]:
    return {name: Concern(*rest) for name, *rest in orjson.loads(text or "[]")}
