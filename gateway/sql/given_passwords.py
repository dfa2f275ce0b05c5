"""SQL of which version of an account its newest password by an administrator came with (schema `identity`)."""

from __future__ import annotations

from gateway.sql.database import Database

_VERSION = "SELECT given_at_version FROM identity.credentials WHERE user_id = $1"
_MARK = "UPDATE identity.credentials SET given_at_version = greatest(given_at_version, $2) WHERE user_id = $1"


async def version(database: Database, user_id: str) -> int | None:
    """The version; 0 when the person has set the password, None when there is none."""
    found: int | None = await database.value(_VERSION, user_id)
    return found


async def mark(database: Database, user_id: str, given_at: int) -> None:
    """The password of now came with that version; an older mark never replaces a newer one."""
    await database.value(_MARK, user_id, given_at)
