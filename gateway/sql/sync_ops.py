"""SQL of op ids: what each asked for, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.identity.callers import Caller
from gateway.sql.cleaning import remove
from gateway.sql.database import Database, Row
from gateway.sql.requests import VISIBLE

_CLAIMED = "SELECT id::text AS id, hash FROM gateway.sync_ops WHERE id = ANY($1::uuid[])"
# In one order, so that two batches with the same ops do not wait for each other.
_CLAIM = """
INSERT INTO gateway.sync_ops (id, hash)
SELECT * FROM unnest($1::uuid[], $2::bytea[]) AS u(id, hash) ORDER BY id ON CONFLICT (id) DO NOTHING"""
_DONE = f"""
SELECT c.id::text AS id, c.request_id::text AS request_id, c.outcome, c.code, r.document
FROM requests.commands c LEFT JOIN requests.requests r ON r.id = c.request_id AND {VISIBLE}
WHERE c.id = ANY($1::uuid[]) AND c.actor_id = $3"""  # noqa: S608 - constants
#: As long as a phone may lie in a drawer.
_FORGET = """
DELETE FROM gateway.sync_ops WHERE id = ANY(ARRAY(
  SELECT id FROM gateway.sync_ops WHERE created_at < now() - interval '90 days' ORDER BY created_at, id LIMIT $1))"""
_FORGET_AT_ONCE = 5_000


async def claimed(database: Database, command_ids: Sequence[str]) -> dict[str, bytes]:
    """What the ops among these that were sent before asked for, by command id."""
    return {row["id"]: row["hash"] for row in await database.rows(_CLAIMED, command_ids)}


async def done(database: Database, command_ids: Sequence[str], caller: Caller) -> dict[str, Row]:
    """What became of those that the read side knows, by command id: `request_id`, `outcome`, `code`, and `document`, the request as
    it is now if the caller may see it.
    """
    rows = await database.rows(
        _DONE, command_ids, caller.sees_all, caller.id, "manager" in caller.roles, list(caller.principals)
    )
    return {row["id"]: row for row in rows}


async def claim(database: Database, hashes: Mapping[str, bytes]) -> dict[str, bytes]:
    """Bind each op to what it asks for, unless it is bound already; what each is bound to then. Of two gateways one is first."""
    if not hashes:
        return {}
    ids = list(hashes)
    async with database.connection() as connection:
        await connection.execute(_CLAIM, ids, list(hashes.values()))
        return {row["id"]: row["hash"] for row in await connection.fetch(_CLAIMED, ids)}


async def forget_old(database: Database) -> None:
    """Remove what no phone will send again."""
    await remove(database, _FORGET, _FORGET_AT_ONCE)
