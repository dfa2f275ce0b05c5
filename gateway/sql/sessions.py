"""SQL of sign-in sessions and their refresh tokens (schema `identity`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.sql.cleaning import remove
from gateway.sql.database import Database, Row

#: Living sessions of an account; a new one ends the oldest. So whatever ends all of them is quick, whoever opened them.
LIVING = 100
#: Of one session: every 10 minutes would be 4,320 in its 30 days. All used tokens are kept while it lives: were the oldest
#: forgotten, a thief would only have to renew often enough for the owner's token not to end the session any more.
RENEWALS = 10_000
#: Sessions that are removed at once, with up to so many refresh tokens each.
FORGET_AT_ONCE = 50

# With a hash: only while it still is the password's. The lock makes a change of it, which ends all sessions, wait.
_INSERT = """
WITH password AS (
  SELECT FROM identity.credentials WHERE user_id = $1 AND password_hash = $9 FOR SHARE),
session AS (
  INSERT INTO identity.sessions (id, user_id, device_id, expires_at, source_address, user_agent, jkt)
  SELECT gen_random_uuid(), $1, $2, $3, $5, $6, $7 WHERE $9::text IS NULL OR EXISTS (SELECT FROM password) RETURNING id),
places AS (
  INSERT INTO identity.known_places (user_id, place, session_id)
  SELECT $1, place, id FROM session, unnest($8::bytea[]) AS place ORDER BY place
  ON CONFLICT (user_id, place) DO UPDATE SET session_id = excluded.session_id, seen_at = excluded.seen_at)
INSERT INTO identity.refresh_tokens (token_hash, session_id) SELECT $4, id FROM session RETURNING session_id"""

# The session before its tokens, as in all that removes them. What has come of the token by then, a further statement reads.
_LOCK = """
SELECT FROM identity.sessions
WHERE id = (SELECT session_id FROM identity.refresh_tokens WHERE token_hash = $1) FOR UPDATE"""
_SHOWN = """
SELECT s.id, s.user_id, s.device_id, s.jkt, s.expires_at, t.used_at, t.used_by,
       s.revoked_at IS NULL AND s.expires_at > now() AND s.renewals < $3 AS alive,
       coalesce(t.used_at > clock_timestamp() - make_interval(secs => $2), false) AS just_used
FROM identity.refresh_tokens t JOIN identity.sessions s ON s.id = t.session_id
WHERE t.token_hash = $1"""
_MARK_USED = """
UPDATE identity.refresh_tokens SET used_at = clock_timestamp(), used_by = $2 WHERE token_hash = $1 RETURNING used_at"""
_ADD = "INSERT INTO identity.refresh_tokens (token_hash, session_id) VALUES ($1, $2)"
_TOUCH = "UPDATE identity.sessions SET last_used_at = clock_timestamp(), renewals = renewals + 1 WHERE id = $1"
_UNUSED = """
SELECT array_position($1::bytea[], token_hash) FROM identity.refresh_tokens
WHERE token_hash = ANY($1::bytea[]) AND used_at IS NULL"""
_REVOKE = "UPDATE identity.sessions SET revoked_at = clock_timestamp() WHERE id = $1::uuid AND revoked_at IS NULL"

_END = """
UPDATE identity.sessions SET revoked_at = clock_timestamp()
WHERE id = $1::uuid AND user_id = $2 AND revoked_at IS NULL AND expires_at > now() RETURNING id"""
_SIGNED_IN = """
SELECT DISTINCT user_id FROM identity.sessions WHERE user_id = ANY($1::text[]) AND revoked_at IS NULL"""
_END_ALL = """
UPDATE identity.sessions SET revoked_at = clock_timestamp()
WHERE user_id = $1 AND id IS DISTINCT FROM $2::uuid AND revoked_at IS NULL RETURNING id::text"""
# It waits for no lock: what another sign-in ends at this moment is ended by that.
_TRIM = """
UPDATE identity.sessions SET revoked_at = clock_timestamp() WHERE id = ANY(ARRAY(
  SELECT id FROM identity.sessions WHERE user_id = $1 AND revoked_at IS NULL AND (created_at, id) < (
    SELECT created_at, id FROM identity.sessions WHERE user_id = $1 AND revoked_at IS NULL
    ORDER BY created_at DESC, id DESC OFFSET $2::int LIMIT 1)
  ORDER BY created_at, id LIMIT 100 FOR UPDATE SKIP LOCKED))"""
# Who keeps no cookie comes with a new place each time. Places are locked in their order, or not waited for: see `_INSERT`.
_TRIM_PLACES = """
DELETE FROM identity.known_places WHERE user_id = $1 AND place IN (
  SELECT place FROM identity.known_places WHERE user_id = $1 AND seen_at < (
    SELECT seen_at FROM identity.known_places WHERE user_id = $1 ORDER BY seen_at DESC OFFSET 100 LIMIT 1)
  FOR UPDATE SKIP LOCKED)"""
_FORGET_PLACES = """
DELETE FROM identity.known_places WHERE (user_id, place) IN (
  SELECT user_id, place FROM identity.known_places WHERE session_id = $1::uuid ORDER BY place FOR UPDATE)"""
_FORGET_ALL_PLACES = """
DELETE FROM identity.known_places WHERE user_id = $1 AND place IN (
  SELECT place FROM identity.known_places WHERE user_id = $1 AND session_id IS DISTINCT FROM $2::uuid
  ORDER BY place FOR UPDATE)"""

_IS_ALIVE = "SELECT revoked_at IS NULL AND expires_at > now() FROM identity.sessions WHERE id = $1::uuid"

_PAGE = """
SELECT id::text, device_id, created_at, last_used_at, expires_at, source_address, user_agent FROM identity.sessions
WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > now()
  AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3::uuid))
ORDER BY created_at DESC, id DESC LIMIT $4"""

# The time is taken before the row can be seen: by a wait for a lock and the rest of the transaction, which the server ends
# when it stands still for 60 s (`Database`). Hearing of an end twice is harmless.
_REVOKED = """
SELECT id::text, revoked_at FROM identity.sessions
WHERE revoked_at IS NOT NULL
  AND revoked_at > coalesce($1::timestamptz - interval '75 seconds', now() - make_interval(secs => $2))"""

# A token of a session that is not there is refused like one of a session that has ended.
# `ANY(ARRAY(…))`: what is in there is done once, however the rest is planned, so the limit holds.
_FORGET_ENDED = """
DELETE FROM identity.sessions WHERE id = ANY(ARRAY(
  SELECT id FROM identity.sessions WHERE revoked_at < now() - interval '1 day' LIMIT $1 FOR UPDATE SKIP LOCKED))"""
_FORGET_EXPIRED = """
DELETE FROM identity.sessions WHERE id = ANY(ARRAY(
  SELECT id FROM identity.sessions WHERE expires_at < now() - interval '1 day' LIMIT $1 FOR UPDATE SKIP LOCKED))"""


@dataclass(frozen=True, slots=True)
class Opening:
    """What is kept of a sign-in. `places` are hashes of where it came from; `password_hash` is the one that was checked."""

    user_id: str
    expires_at: datetime
    token_hash: bytes
    device_id: str | None
    source_address: str
    user_agent: str | None
    jkt: str | None
    places: Sequence[bytes]
    password_hash: str | None


@dataclass(frozen=True, slots=True)
class Used:
    """A refresh token that was presented. `reused`: a second time or by another device, which ended the session.

    `successor` is the place of the one that it has, among those that were presented with it.
    """

    session_id: str
    user_id: str
    expires_at: datetime
    used_at: datetime
    jkt: str | None
    reused: bool
    successor: int = 0


@dataclass(frozen=True, slots=True)
class Presented:
    """A refresh token as it came in, all as hashes: `device` tells one device from another, `jkt` is its proven key.

    `successors`: what each of our keys makes of the token; the first is that of the key in use.
    """

    token_hash: bytes
    successors: Sequence[bytes]
    device: str
    device_id: str | None
    jkt: str | None


async def insert(database: Database, opening: Opening) -> str | None:
    """Open a session with its first refresh token; its id, or None when the password was changed meanwhile.

    The account's oldest sessions end when it has more than `LIVING`. As after logging out, their places stay known.
    """
    found = await database.value(
        _INSERT,
        opening.user_id,
        opening.device_id,
        opening.expires_at,
        opening.token_hash,
        opening.source_address,
        opening.user_agent,
        opening.jkt,
        opening.places,
        opening.password_hash,
    )
    if found is None:
        return None
    await database.value(_TRIM, opening.user_id, LIVING - 1)
    await database.value(_TRIM_PLACES, opening.user_id)
    return str(found)


async def use(database: Database, shown: Presented, retry_seconds: float) -> Used | None:
    """Use up a refresh token and put its first successor in its place, or find which one is there already.

    None for an unknown one, an ended session, and a bound token without its key: who stole that cannot even end the session.
    """
    async with database.connection() as connection, connection.transaction():
        await connection.execute(_LOCK, shown.token_hash)
        row = await connection.fetchrow(_SHOWN, shown.token_hash, retry_seconds, RENEWALS)
        if row is None or not row["alive"] or row["jkt"] != shown.jkt:
            return None
        session_id, user_id, expires, jkt = str(row["id"]), row["user_id"], row["expires_at"], row["jkt"]
        stolen = shown.device_id is not None and shown.device_id != row["device_id"]
        if row["used_at"] is None and not stolen:
            used_at = await connection.fetchval(_MARK_USED, shown.token_hash, shown.device)
            await connection.execute(_ADD, shown.successors[0], row["id"])
            await connection.execute(_TOUCH, row["id"])
            return Used(session_id, user_id, expires, used_at, jkt, reused=False)
        place = None
        if not stolen and row["just_used"] and row["used_by"] == shown.device:
            place = await connection.fetchval(_UNUSED, shown.successors)
        if place is None:
            await connection.execute(_REVOKE, session_id)
            await connection.execute(_FORGET_PLACES, session_id)
            return Used(session_id, user_id, expires, row["used_at"], jkt, reused=True)
        return Used(session_id, user_id, expires, row["used_at"], jkt, reused=False, successor=place - 1)


async def revoke(database: Database, session_id: str) -> None:
    """End a session whose owner goes away; once more changes nothing."""
    await database.value(_REVOKE, session_id)


async def end(database: Database, session_id: str, user_id: str) -> bool:
    """End one of this user's sessions as not trusted any more; False when they have none of that id."""
    async with database.connection() as connection, connection.transaction():
        if not await connection.fetchval(_END, session_id, user_id):
            return False
        await connection.execute(_FORGET_PLACES, session_id)
        return True


async def end_sessions(database: Database, user_id: str) -> list[str]:
    """End all of this user's sessions as not trusted any more; returns their ids. Other gateways know within a second."""
    async with database.connection() as connection, connection.transaction():
        return await end_all(connection, user_id)


async def with_sessions(database: Database, user_ids: Sequence[str]) -> list[str]:
    """Those of the users who are signed in somewhere."""
    return [row[0] for row in await database.rows(_SIGNED_IN, user_ids)]


async def end_all(connection: Any, user_id: str, keep: str | None = None) -> list[str]:
    """`end_sessions` within a transaction; `keep` stays."""
    ended = [row[0] for row in await connection.fetch(_END_ALL, user_id, keep)]
    await connection.execute(_FORGET_ALL_PLACES, user_id, keep)
    return ended


async def is_alive(database: Database, session_id: str) -> bool:
    """Whether the session stands now."""
    return bool(await database.value(_IS_ALIVE, session_id))


async def page(database: Database, user_id: str, after: tuple[datetime, str] | None, limit: int) -> list[Row]:
    """The user's living sessions, newest first, one more than `limit` if there are more."""
    at, id_ = after or (None, None)
    return await database.rows(_PAGE, user_id, at, id_, limit + 1)


async def revoked_since(database: Database, since: datetime | None, keep_seconds: float) -> list[tuple[str, datetime]]:
    """Sessions ended since then (and a little before), or within `keep_seconds` for None."""
    return [(row[0], row[1]) for row in await database.rows(_REVOKED, since, keep_seconds)]


async def forget_old(database: Database) -> None:
    """Remove sessions that ended more than a day ago, with their refresh tokens."""
    for statement in (_FORGET_ENDED, _FORGET_EXPIRED):
        await remove(database, statement, FORGET_AT_ONCE)
