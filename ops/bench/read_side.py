"""Fills PostgreSQL's read side with copies of two real requests, for reading only: the log knows nothing of them.

The copies are rows as the projector wrote the originals: one that waits for its first approval, and one approved by L1, L2 and
L3. Ids, times, requesters and positions differ from copy to copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import asyncpg

from ops.bench.settling import upkeep

#: Of ten copies one waits for L1, and one is the requester's own.
WAITING, OWN = 0, 1
CHUNK = 20_000
TIME_OUT = 600.0

#: $1, $2: numbers of the copies, $3: the original that waits, $4: the one that is approved, $5: whose own some are, $6: copies in
#: all, $7: partitions.
_COPIES = f"""
CREATE TEMPORARY TABLE copies ON COMMIT DROP AS
SELECT n, md5('bench ' || n)::uuid AS id, CASE WHEN n % 10 = {WAITING} THEN $3::uuid ELSE $4::uuid END AS original,
  CASE WHEN n % 10 = {OWN} THEN $5::text ELSE 'bench.' || n % 1000 END AS requester_id,
  date_trunc('second', now()) - ($6::bigint - n) * interval '20 seconds' AS created_at,
  (n % $7::int)::int AS partition, (n / $7::int)::bigint AS log_offset
FROM generate_series($1::bigint, $2::bigint - 1) AS n"""  # noqa: S608 - constants
_STATEMENTS = (
    """
INSERT INTO requests.requests
  (id, version, status, requester_id, category_id, department_id, created_at, updated_at, document, partition, log_offset)
SELECT c.id, r.version, r.status, c.requester_id, r.category_id, r.department_id, c.created_at,
  c.created_at + (r.updated_at - r.created_at), replace(r.document, r.id::text, c.id::text), c.partition, c.log_offset
FROM copies c JOIN requests.requests r ON r.id = c.original""",
    """
INSERT INTO requests.participants
  (approver_id, request_id, created_at, waiting, decided, left_by, partition, log_offset, status, category_id)
SELECT p.approver_id, c.id, c.created_at, p.waiting, p.decided, p.left_by, c.partition, c.log_offset, p.status, p.category_id
FROM copies c JOIN requests.participants p ON p.request_id = c.original""",
    """
INSERT INTO requests.history (request_id, version, status, at, actor_id, action, level, comment, on_behalf_of)
SELECT c.id, h.version, h.status, c.created_at + (h.at - r.created_at), h.actor_id, h.action, h.level, h.comment, h.on_behalf_of
FROM copies c JOIN requests.history h ON h.request_id = c.original JOIN requests.requests r ON r.id = c.original""",
    """
INSERT INTO requests.votes (request_id, level, approver_id, decision, at, version)
SELECT c.id, v.level, v.approver_id, v.decision, c.created_at + (v.at - r.created_at), v.version
FROM copies c JOIN requests.votes v ON v.request_id = c.original JOIN requests.requests r ON r.id = c.original""",
)


@dataclass(frozen=True, slots=True)
class Originals:
    """Ids of two real requests, and whose some of the copies are."""

    waiting: str
    approved: str
    requester: str


TABLES = ("requests.requests", "requests.participants", "requests.history", "requests.votes")


async def fill(
    database: asyncpg.Connection,
    originals: Originals,
    numbers: range,
    size: int,
    progress: Callable[[int, int], None],
) -> None:
    """Make the copies of these numbers, of `size` that there will be.

    The projector must stand still: the offsets that count as applied are moved behind the copies'.
    """
    partitions = await database.fetchval("SELECT count(*)::int FROM audit.applied_offsets")
    await database.execute("SET synchronous_commit = off")
    for first in range(numbers.start, numbers.stop, CHUNK):
        last = min(numbers.stop, first + CHUNK)
        values = (first, last, originals.waiting, originals.approved, originals.requester, size, partitions)
        async with database.transaction():
            await database.execute(_COPIES, *values, timeout=TIME_OUT)
            for statement in _STATEMENTS:
                await database.execute(statement, timeout=TIME_OUT)
        progress(last, size)
    await database.execute(
        "UPDATE audit.applied_offsets SET next_offset = greatest(next_offset, $1::bigint)",
        numbers.stop // partitions + 1,
    )
    await upkeep(database)


async def differences(database: asyncpg.Connection, originals: Originals) -> list[str]:
    """In what the copies are other rows than the originals: nothing, or the filling is wrong. A sentence for each."""
    found = []
    for original, number in ((originals.waiting, WAITING), (originals.approved, OWN)):
        for table in TABLES:
            key = "id" if table == "requests.requests" else "request_id"
            counted = f"SELECT count(*), sum(length(t::text)) FROM {table} t WHERE {key} = "  # noqa: S608 - constants
            real = await database.fetchrow(f"{counted} $1::uuid", original)
            copy = await database.fetchrow(f"{counted} md5('bench ' || $1::bigint)::uuid", number)
            bytes_differ = abs((real[1] or 0) - (copy[1] or 0)) > 40 * max(1, real[0])
            if real[0] != copy[0] or bytes_differ:
                found.append(f"{table}: {real[0]} rows of {real[1]} characters, the copy has {copy[0]} of {copy[1]}")
    return found
