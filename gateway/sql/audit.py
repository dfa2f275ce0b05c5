"""SQL of the audit log: pages of it, newest first."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gateway.sql.database import Database, Row

# ruff: noqa: S608 - statements are put together of constants, values are parameters

_COLUMNS = """a.entity, a.seq, a.request_id, a.version, a.actor_id, a.actor_roles, a.action, a.level, a.at, a.outcome, a.code,
  a.status_before, a.status_after, a.correlation_id, a.prev_hash, a.hash, a.partition, a.log_offset"""
_NEWEST_FIRST = "ORDER BY a.at DESC, a.partition DESC, a.log_offset DESC"
#: The actions that somebody ever did, each found by a look into the index on (actor, action).
_DID = """WITH RECURSIVE did(action) AS (
  (SELECT r.action FROM audit.records r WHERE r.actor_id = $1 ORDER BY r.action LIMIT 1)
  UNION ALL
  SELECT (SELECT r.action FROM audit.records r WHERE r.actor_id = $1 AND r.action > did.action ORDER BY r.action LIMIT 1)
  FROM did WHERE did.action IS NOT NULL)
"""


async def page(
    database: Database,
    *,
    user_id: str | None,
    request_id: str | None,
    action: str | None,
    since: datetime | None,
    until: datetime | None,
    after: tuple[datetime, int, int] | None,
    limit: int,
) -> list[Row]:
    """Records that match all filters, one more than `limit` if there are more. `after` is the last one's `at`, `partition` and
    `log_offset`; `since` inclusive, `until` exclusive."""
    values: list[Any] = []
    where: list[str] = []
    for value, condition in (
        (user_id, "a.actor_id = ${}"),
        (request_id, "a.request_id = ${}"),
        (action, "a.action = ${}"),
        (since, "a.at >= ${}::timestamptz"),
        (until, "a.at < ${}::timestamptz"),
    ):
        if value is not None:
            values.append(value)
            where.append(condition.format(len(values)))
    if after is not None:
        at, partition, offset = (f"${len(values) + n}" for n in (1, 2, 3))
        where.append(f"(a.at, a.partition, a.log_offset) < ({at}::timestamptz, {partition}::int, {offset}::bigint)")
        values.extend(after)
    by_actions = user_id is not None and request_id is None and action is None
    if user_id is None and request_id is None:
        # These name the index to walk: migration 11.
        where.append("a.seq <> -2" if action is None else "a.seq <> -1")
    if by_actions:
        where.append("a.action = did.action")
    walk = f"SELECT {_COLUMNS} FROM audit.records a WHERE {' AND '.join(where)} {_NEWEST_FIRST} LIMIT {limit + 1}"
    if by_actions:
        walk = f"SELECT a.* FROM did CROSS JOIN LATERAL ({walk}) a {_NEWEST_FIRST} LIMIT {limit + 1}"
    statement = f"""{_DID if by_actions else ""}SELECT a.*, p.content::json ->> 'source_address' AS source_address
FROM ({walk}) a LEFT JOIN audit.personal p ON p.entity = a.entity AND p.seq = a.seq {_NEWEST_FIRST}"""
    return await database.rows(statement, *values)
