"""SQL of the audit log: pages of it, newest first."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gateway.sql.database import Database, Row

_LOG = """
SELECT a.entity, a.seq, a.request_id, a.version, a.actor_id, a.actor_roles, a.action, a.level, a.at, a.outcome, a.code,
       a.status_before, a.status_after, a.correlation_id, a.prev_hash, a.hash,
       p.content::json ->> 'source_address' AS source_address
FROM audit.records a LEFT JOIN audit.personal p ON p.entity = a.entity AND p.seq = a.seq"""


async def page(
    database: Database,
    *,
    user_id: str | None,
    request_id: str | None,
    action: str | None,
    since: datetime | None,
    until: datetime | None,
    after: tuple[datetime, str, int] | None,
    limit: int,
) -> list[Row]:
    """Records that match all filters, one more than `limit` if there are more. `since` inclusive, `until` exclusive."""
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
        at, entity, seq = (f"${len(values) + n}" for n in (1, 2, 3))
        where.append(f"(a.at, a.entity, a.seq) < ({at}::timestamptz, {entity}::text, {seq}::bigint)")
        values.extend(after)
    condition = f" WHERE {' AND '.join(where)}" if where else ""
    order = f" ORDER BY a.at DESC, a.entity DESC, a.seq DESC LIMIT {limit + 1}"
    return await database.rows(_LOG + condition + order, *values)
