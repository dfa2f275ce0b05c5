"""SQL of sign-in sessions, refresh tokens and credentials (schema `identity`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.sql.database import Database

_PASSWORD_HASH = "SELECT password_hash FROM identity.credentials WHERE user_id = $1"  # noqa: S105

_INSERT = """
WITH session AS (
  INSERT INTO identity.sessions (id, user_id, device_id, expires_at)
  VALUES (gen_random_uuid(), $1, $2, $3) RETURNING id)
INSERT INTO identity.refresh_tokens (token_hash, session_id) SELECT $4, id FROM session RETURNING session_id"""

_LOCK = """
SELECT s.id, s.user_id, s.expires_at, t.used_at, t.used_by,
       s.revoked_at IS NULL AND s.expires_at > now() AS alive,
       coalesce(t.used_at > clock_timestamp() - make_interval(secs => $2), false) AS just_used
FROM identity.refresh_tokens t JOIN identity.sessions s ON s.id = t.session_id
WHERE t.token_hash = $1 FOR UPDATE OF t"""
_MARK_USED = """
UPDATE identity.refresh_tokens SET used_at = clock_timestamp(), used_by = $2 WHERE token_hash = $1 RETURNING used_at"""
_ADD = "INSERT INTO identity.refresh_tokens (token_hash, session_id) VALUES ($1, $2)"
_UNUSED = "SELECT used_at IS NULL FROM identity.refresh_tokens WHERE token_hash = $1"
_REVOKE = "UPDATE identity.sessions SET revoked_at = clock_timestamp() WHERE id = $1::uuid AND revoked_at IS NULL"

_IS_ALIVE = "SELECT revoked_at IS NULL AND expires_at > now() FROM identity.sessions WHERE id = $1::uuid"

# Five seconds of overlap: the time is taken a moment before the row can be seen.
_REVOKED = """
SELECT id::text, revoked_at FROM identity.sessions
WHERE revoked_at IS NOT NULL
  AND revoked_at > coalesce($1::timestamptz - interval '5 seconds', now() - make_interval(secs => $2))"""


@dataclass(frozen=True, slots=True)
class Used:
    """A refresh token that was presented. `reused`: for the second time, which ended the session."""

    session_id: str
    user_id: str
    expires_at: datetime
    used_at: datetime
    reused: bool


async def password_hash(database: Database, user_id: str) -> str | None:
    """The stored hash, None when there is none."""
    found: str | None = await database.value(_PASSWORD_HASH, user_id)
    return found


async def insert(database: Database, user_id: str, device_id: str | None, expires: datetime, token_hash: bytes) -> str:
    """Open a session with its first refresh token; returns its id."""
    return str(await database.value(_INSERT, user_id, device_id, expires, token_hash))


async def use(
    database: Database, token_hash: bytes, successor_hash: bytes, device: str, retry_seconds: float
) -> Used | None:
    """Use up a refresh token and put its successor in its place; None for an unknown one or an ended session."""
    async with database.connection() as connection, connection.transaction():
        row = await connection.fetchrow(_LOCK, token_hash, retry_seconds)
        if row is None or not row["alive"]:
            return None
        session_id, user_id, expires = str(row["id"]), row["user_id"], row["expires_at"]
        if row["used_at"] is None:
            used_at = await connection.fetchval(_MARK_USED, token_hash, device)
            await connection.execute(_ADD, successor_hash, row["id"])
            return Used(session_id, user_id, expires, used_at, reused=False)
        retry = row["just_used"] and row["used_by"] == device and await connection.fetchval(_UNUSED, successor_hash)
        if not retry:
            await connection.execute(_REVOKE, session_id)
        return Used(session_id, user_id, expires, row["used_at"], reused=not retry)


async def revoke(database: Database, session_id: str) -> None:
    """End a session; once more changes nothing."""
    await database.value(_REVOKE, session_id)


async def is_alive(database: Database, session_id: str) -> bool:
    """Whether the session stands now."""
    return bool(await database.value(_IS_ALIVE, session_id))


async def revoked_since(database: Database, since: datetime | None, keep_seconds: float) -> list[tuple[str, datetime]]:
    """Sessions ended since then (and a little before), or within `keep_seconds` for None."""
    return [(row[0], row[1]) for row in await database.rows(_REVOKED, since, keep_seconds)]
