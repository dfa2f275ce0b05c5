"""SQL of which version of an account its newest password by an administrator came with (schema `identity`)."""

from __future__ import annotations

from gateway.sql.database import Database

_VERSION = "SELECT given_at_version FROM identity.credentials WHERE user_id = $1"


async def version(database: Database, user_id: str) -> int | None:
    """The version; 0 when the person has set the password, None when there is none."""
    found: int | None = await database.value(_VERSION, user_id)
    return found
