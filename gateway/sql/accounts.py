"""SQL of accounts, for a gateway that cannot hear of their changes."""

from __future__ import annotations

from gateway.sql.database import Database
from schemas.reference import ENTITIES, User

_STORED = "SELECT document FROM catalog.entities WHERE kind = 'user' AND id = $1"


async def stored(database: Database, user_id: str) -> User | None:
    """The account as the read side has it."""
    document = await database.value(_STORED, user_id)
    entity = None if document is None else ENTITIES.validate_json(document)
    return entity if isinstance(entity, User) else None
