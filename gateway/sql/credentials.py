"""SQL of passwords, the links that set the first one, and where an account's owner signed in before (schema `identity`)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from gateway.sql.cleaning import remove
from gateway.sql.database import Database
from gateway.sql.sessions import end_all

# All that locks does so in one order: link, password, sessions, places.
_STANDING = """
SELECT (SELECT password_hash FROM identity.credentials WHERE user_id = $1),
       ARRAY(SELECT place FROM identity.known_places WHERE user_id = $1 AND place = ANY($2::bytea[]))"""
_PUT = """
INSERT INTO identity.credentials (user_id, password_hash) VALUES ($1, $2)
ON CONFLICT (user_id) DO UPDATE SET password_hash = excluded.password_hash, changed_at = clock_timestamp()"""
_GIVE = """
INSERT INTO identity.credentials AS known (user_id, password_hash, given_at_version) VALUES ($1, $2, $3)
ON CONFLICT (user_id) DO UPDATE
SET password_hash = excluded.password_hash, given_at_version = excluded.given_at_version, changed_at = clock_timestamp()
WHERE known.given_at_version < excluded.given_at_version RETURNING true"""
_CHANGE = """
UPDATE identity.credentials SET password_hash = $2, changed_at = clock_timestamp()
WHERE user_id = $1 AND password_hash = $3 RETURNING true"""
_LOCK_INVITATION = "SELECT FROM identity.invitations WHERE user_id = $1 FOR UPDATE"
_INVITE = """
INSERT INTO identity.invitations (user_id, token_hash, expires_at)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (user_id) DO UPDATE SET token_hash = excluded.token_hash, expires_at = excluded.expires_at
RETURNING expires_at"""
_INVITED = "SELECT user_id FROM identity.invitations WHERE token_hash = $1 AND expires_at > clock_timestamp()"
_REDEEM = """
DELETE FROM identity.invitations WHERE token_hash = $1 AND expires_at > clock_timestamp() RETURNING user_id"""
_UNINVITE = "DELETE FROM identity.invitations WHERE user_id = $1"
_FORGET_INVITATIONS = """
DELETE FROM identity.invitations WHERE user_id = ANY(ARRAY(
  SELECT user_id FROM identity.invitations WHERE expires_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED))"""
_FORGET_PLACES = """
WITH old AS MATERIALIZED (
  SELECT user_id, place FROM identity.known_places WHERE seen_at < now() - interval '90 days'
  LIMIT $1 FOR UPDATE SKIP LOCKED)
DELETE FROM identity.known_places p USING old WHERE p.user_id = old.user_id AND p.place = old.place"""
_FORGET_AT_ONCE = 5_000


async def standing(database: Database, user_id: str, places: Sequence[bytes]) -> tuple[str | None, set[bytes]]:
    """The stored hash, None when there is none; and which of `places` this account's owner signed in from before."""
    row = await database.row(_STANDING, user_id, places)
    return (None, set()) if row is None else (row[0], set(row[1]))


async def give(database: Database, user_id: str, password_hash: str, version: int) -> list[str] | None:
    """Set the password that came with this version of the account. Links are void, and all sessions end; returns their ids. None:
    one that came with this version or a later one is there, and nothing was done.
    """
    async with database.connection() as connection, connection.transaction():
        await connection.execute(_LOCK_INVITATION, user_id)
        # One statement: with two, a crash or another call in between would let an old password come back.
        if not await connection.fetchval(_GIVE, user_id, password_hash, version):
            return None
        await connection.execute(_UNINVITE, user_id)
        return await end_all(connection, user_id)


async def change(database: Database, user_id: str, before: str, after: str, session_id: str) -> list[str] | None:
    """Replace the hash `before`; sessions but this one end, and links are void. None: another change came first."""
    async with database.connection() as connection, connection.transaction():
        await connection.execute(_LOCK_INVITATION, user_id)
        if not await connection.fetchval(_CHANGE, user_id, after, before):
            return None
        await connection.execute(_UNINVITE, user_id)
        return await end_all(connection, user_id, keep=session_id)


async def invite(database: Database, user_id: str, token_hash: bytes, seconds: float) -> datetime:
    """Keep a link's hash, in the place of the one before; returns when it expires."""
    expires: datetime = await database.value(_INVITE, user_id, token_hash, seconds)
    return expires


async def invited(database: Database, token_hash: bytes) -> str | None:
    """Whom a link is for, None when it is worth nothing (any more)."""
    found: str | None = await database.value(_INVITED, token_hash)
    return found


async def redeem(database: Database, token_hash: bytes, password_hash: str) -> list[str] | None:
    """Use the link up and set the password. Links are void, and all sessions end; returns their ids. None: somebody was faster."""
    async with database.connection() as connection, connection.transaction():
        user_id = await connection.fetchval(_REDEEM, token_hash)
        return None if user_id is None else await _put(connection, user_id, password_hash)


async def forget_old(database: Database) -> None:
    """Remove links that have expired, and places not seen for 90 days."""
    for statement in (_FORGET_INVITATIONS, _FORGET_PLACES):
        await remove(database, statement, _FORGET_AT_ONCE)


async def _put(connection: Any, user_id: str, password_hash: str) -> list[str]:
    await connection.execute(_UNINVITE, user_id)
    await connection.execute(_PUT, user_id, password_hash)
    return await end_all(connection, user_id)
