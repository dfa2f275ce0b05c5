"""The requests on record as a simulation reads them: each one's submission, as the audit stream has it, row by row."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from schemas.state import Status

#: Newest requests whose decisions are measured.
MEASURED = 20_000
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
# By the index on (action, at): neither the number of other records nor memory matters. A refused submit has no event.
_SUBMISSIONS = """SELECT request_id, event FROM audit.records
WHERE action = 'submit' AND outcome = 'accepted' AND at >= $1 AND seq <> -1"""
# From a request's last step to a vote: how long people take. What leaves a request where it was is no step: a comment, a reminder,
# and who else may decide since the level waits.
_DECISIONS = """
SELECT level, percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM took) * 1000)::bigint AS median_ms
FROM (SELECT h.level, h.action, h.at - lag(h.at) OVER (PARTITION BY h.request_id ORDER BY h.version) AS took
      FROM requests.history h
      JOIN (SELECT x.id FROM unnest($2::text[]) AS s(status) CROSS JOIN LATERAL (
              SELECT created_at, id FROM requests.requests r WHERE r.status = s.status AND r.version <> -1
              ORDER BY created_at DESC, id DESC LIMIT $1) x
            ORDER BY x.created_at DESC, x.id DESC LIMIT $1) r ON r.id = h.request_id
      WHERE h.action NOT IN ('comment', 'remind', 'escalate', 'reassign')) steps
WHERE action IN ('approve', 'reject') AND level IS NOT NULL AND took IS NOT NULL GROUP BY level"""


async def decision_ms(connection: Any) -> dict[str, int]:
    """By level, the median time from a request's step before a vote to the vote, of the newest `MEASURED` requests."""
    rows = await connection.fetch(_DECISIONS, MEASURED, [status.value for status in Status])
    return {row["level"]: row["median_ms"] for row in rows}


async def copy_submissions(
    connection: Any, since: datetime | None, write: Callable[[bytes], Awaitable[None]], seconds: float
) -> None:
    """Every accepted submission from `since` on, in no order, as lines for `events_of`. PostgreSQL sends on only what was taken:
    nothing piles up here. `seconds` bounds the whole of it."""
    await connection.copy_from_query(_SUBMISSIONS, since or _FIRST, output=write, format="text", timeout=seconds)


async def count(connection: Any, since: datetime | None) -> int:
    """How many that will be."""
    found = await connection.fetchval(_SUBMISSIONS.replace("request_id, event", "count(*)"), since or _FIRST)
    return int(found)


def events_of(rows: Iterable[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(request id, event) of each line. JSON has no raw tab, line feed or control character, so COPY escapes backslashes alone."""
    for row in rows:
        request_id, _, event = row.rstrip(b"\n").partition(b"\t")
        yield request_id.decode(), orjson.loads(event.replace(b"\\\\", b"\\"))
