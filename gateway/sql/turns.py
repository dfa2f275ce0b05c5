"""SQL of the turns that slowed sign-ins take, shared by all gateways (`identity.take_turn`)."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.sql.cleaning import remove
from gateway.sql.database import Database

_TAKE = "SELECT identity.take_turn($1::bytea[], $2::float8[], $3::float8[], $4)"
# Rows are locked in the order of keys here too, and cleaning waits for nobody: so nothing waits in a circle.
_GIVE_BACK = """
WITH locked AS (SELECT key FROM identity.turns WHERE key = ANY($1::bytea[]) ORDER BY key FOR UPDATE)
UPDATE identity.turns t SET due = t.due - make_interval(secs => a.step)
FROM locked JOIN unnest($1::bytea[], $2::float8[]) AS a (key, step) USING (key) WHERE t.key = locked.key"""
_FORGET = """
DELETE FROM identity.turns WHERE key = ANY(ARRAY(
  SELECT key FROM identity.turns WHERE due < now() LIMIT $1 FOR UPDATE SKIP LOCKED))"""
_FORGET_AT_ONCE = 5_000


async def take(
    database: Database, keys: Sequence[bytes], free: Sequence[float], steps: Sequence[float], longest: float
) -> list[float]:
    """Take a turn on all keys: the seconds that each has to wait for it. One of more than `longest`: none was taken."""
    waits: list[float] = await database.value(_TAKE, keys, free, steps, longest)
    return waits


async def give_back(database: Database, keys: Sequence[bytes], steps: Sequence[float]) -> None:
    """The attempt was right, and costs nothing."""
    await database.value(_GIVE_BACK, keys, steps)


async def forget_old(database: Database) -> None:
    """Remove what slows nobody any more."""
    await remove(database, _FORGET, _FORGET_AT_ONCE)
