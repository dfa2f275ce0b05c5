"""SQL of the turns that slowed sign-ins take, shared by all gateways (`identity.take_turn`)."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.sql.database import Database

_TAKE = "SELECT identity.take_turn($1::bytea[], $2::float8[], $3::float8[], $4)"
_GIVE_BACK = """
UPDATE identity.turns t SET due = t.due - make_interval(secs => a.step)
FROM unnest($1::bytea[], $2::float8[]) AS a (key, step) WHERE t.key = a.key"""
_FORGET = "DELETE FROM identity.turns WHERE due < now()"


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
    await database.value(_FORGET)
