"""SQL of what became of commands."""

from __future__ import annotations

from gateway.sql.cleaning import remove
from gateway.sql.database import Database, Row

_BY_ID = """
SELECT c.outcome, c.code, c.version, c.actor_id, c.request_id::text AS request_id
FROM requests.commands c WHERE c.id = $1::uuid AND c.actor_id = $2"""
_PROMISE = """
INSERT INTO gateway.promised_commands (id, actor_id) VALUES ($1::uuid, $2) ON CONFLICT (id) DO NOTHING"""
_PROMISED = "SELECT actor_id FROM gateway.promised_commands WHERE id = $1::uuid"
# The gateway may lock none of these rows; two that clean at once take them in one order.
_FORGET = """
DELETE FROM gateway.promised_commands WHERE id = ANY(ARRAY(
  SELECT id FROM gateway.promised_commands WHERE created_at < now() - interval '14 days' ORDER BY created_at, id LIMIT $1))"""
_FORGET_AT_ONCE = 5_000


async def by_id(database: Database, command_id: str, user_id: str) -> Row | None:
    """`outcome`, `code`, `version`, `request_id` of a command of that user; None when the read side has none."""
    return await database.row(_BY_ID, command_id, user_id)


async def promise(database: Database, command_id: str, user_id: str) -> None:
    """Keep whose a command is that was answered with 202; as long as the log keeps the command."""
    await database.value(_PROMISE, command_id, user_id)


async def promised_to(database: Database, command_id: str) -> str | None:
    """The author of a promised command."""
    found: str | None = await database.value(_PROMISED, command_id)
    return found


async def forget_old(database: Database) -> None:
    """Remove promises that are older than the commands topic keeps its records."""
    await remove(database, _FORGET, _FORGET_AT_ONCE)
