"""SQL of a request's status history, and of an approver's own decisions."""

from __future__ import annotations

from datetime import datetime

from gateway.sql.database import Database, Row

_STATUS = """
SELECT version, status, at, actor_id, action, level, comment, on_behalf_of FROM requests.history
WHERE request_id = $1::uuid AND version > $2 ORDER BY version LIMIT $3"""

_FIRST_DECISIONS = """
SELECT h.request_id::text AS request_id, h.version, h.action, h.level, h.at,
       CASE WHEN h.version = (SELECT max(v.version) FROM requests.votes v WHERE v.request_id = h.request_id)
            THEN r.document::json ->> 'rollback_until' END AS rollback_until
FROM requests.history h JOIN requests.requests r ON r.id = h.request_id
WHERE h.actor_id = $1 AND h.action IN ('approve', 'reject')"""
_ORDER = " ORDER BY h.at DESC, h.request_id DESC, h.version DESC LIMIT $2"
_NEXT_DECISIONS = (
    _FIRST_DECISIONS + " AND (h.at, h.request_id, h.version) < ($3::timestamptz, $4::uuid, $5::int)" + _ORDER
)


async def of_request(database: Database, request_id: str, after_version: int, limit: int) -> list[Row]:
    """The events of a request after that version, oldest first, one more than `limit` when there are more."""
    return await database.rows(_STATUS, request_id, after_version, limit + 1)


async def decisions(database: Database, user_id: str, after: tuple[datetime, str, int] | None, limit: int) -> list[Row]:
    """The user's approvals and rejections, newest first. `rollback_until` is that of the newest standing decision of a
    request whose window is open."""
    if after is None:
        return await database.rows(_FIRST_DECISIONS + _ORDER, user_id, limit + 1)
    return await database.rows(_NEXT_DECISIONS, user_id, limit + 1, *after)
