"""SQL of sign-ins with the outside provider: whose account somebody's subject there is, and which sign-ins are used up."""

from __future__ import annotations

from datetime import datetime

from gateway.sql.database import Database

_FIND = "SELECT user_id FROM identity.provider_links WHERE issuer = $1 AND subject = $2"
_LINK = "INSERT INTO identity.provider_links (issuer, subject, user_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
# One at a time, which keeps the table from growing and cannot deadlock. The hour is for clocks that differ.
_FORGET = """
DELETE FROM identity.provider_sign_ins WHERE nonce = (
  SELECT nonce FROM identity.provider_sign_ins WHERE expires_at < now() - interval '1 hour' ORDER BY expires_at LIMIT 1)"""
_USE_UP = """
INSERT INTO identity.provider_sign_ins (nonce, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true"""


async def linked(database: Database, issuer: str, subject: str) -> str | None:
    """The account's id, None when none is linked."""
    found: str | None = await database.value(_FIND, issuer, subject)
    return found


async def link(database: Database, issuer: str, subject: str, user_id: str) -> str | None:
    """Link them for good; returns the account that is linked then.

    It is another one, or None, where the subject or the account was linked before: a link is never changed.
    """
    await database.value(_LINK, issuer, subject, user_id)
    return await linked(database, issuer, subject)


async def use_up(database: Database, nonce: str, expires: datetime) -> bool:
    """Whether this sign-in had not been used yet; it is from now on. The oldest is forgotten."""
    async with database.connection() as connection:
        await connection.execute(_FORGET)
        return bool(await connection.fetchval(_USE_UP, nonce, expires))
