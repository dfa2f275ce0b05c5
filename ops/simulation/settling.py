"""Faults have stopped: everything must finish, and every invariant is checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.simulation import final
from ops.simulation.actions import restaff_all, sweep_all
from ops.simulation.failure import Broken, holds
from ops.simulation.organisation import LONGEST_WINDOW_MS
from ops.simulation.shard_task import REPEAT_AFTER_MS
from ops.simulation.shards import PARTITIONS, SHARDS
from ops.simulation.staffed import check_staffed
from schemas import topics

if TYPE_CHECKING:
    from ops.simulation.world import World

_WINDOW_ROUNDS, _ROUNDS, _STEPS = 8, 400, 20_000
#: Longer than any record that is still on its way to the log, in ms.
_UNDER_WAY_MS = 16_000
_ROUND_MS = 250


def settle(world: World) -> None:
    """All work is done, all promises are kept, all that time does is done, nobody waits for who left, the read side has it all."""
    clock = world.broker.clock
    _heal(world)
    clock.now += _UNDER_WAY_MS
    _drain(world)
    _second_thoughts(world)
    latest = max((ledger.at for ledger in world.watch.read_side.requests.values()), default=clock.now)
    clock.now = max(clock.now, latest) + LONGEST_WINDOW_MS
    for _ in range(_WINDOW_ROUNDS):
        clock.now += REPEAT_AFTER_MS + 1
        if sweep_all(world) == 0:
            break
        _drain(world)
    read_side = world.watch.read_side
    final.check_windows(read_side, clock.now)
    final.check_waiting(read_side, clock.now)
    check_staffed(world.broker, read_side)
    world.replay.check_complete()
    final.check_stores(world.cluster)
    final.check_outcomes(world.broker, world.watch)
    final.check_notifications(world.replay, world.watch)
    final.check_reference(world.cluster)
    world.intents.check()
    world.mirror.check()
    holds(not any(map(world.cluster.lag, SHARDS)), "offsets lag behind")


def _second_thoughts(world: World) -> None:
    """All is quiet, and then decisions are taken back, or those who are away come back. Nothing else happens that would make
    a worker look again: it must see by itself who is waited for now."""
    if restaff_all(world):
        world.broker.clock.now += _ROUND_MS
        _drain(world)
    if world.rng.random() < 0.5:
        world.clients.take_back()
    else:
        world.admin.bring_back()
    _drain(world)


def _heal(world: World) -> None:
    world.broker.clock.skew = 0
    world.network.trouble = None
    world.database.down = False
    world.database.fates = []
    world.cluster.heal()
    world.projection.heal()


def _drain(world: World) -> None:
    for _ in range(_ROUNDS):
        world.loop.run()
        world.cluster.run_until_idle(_STEPS)
        for gateway in world.gateways:
            gateway.follow(1_000)
        world.loop.run()
        open_ = world.intents.insist()
        if not open_ and _caught_up(world):
            return
        world.broker.clock.now += _ROUND_MS
    left = [one for one in world.intents.book if not one.settled]
    raise Broken("work did not end after faults had stopped", left[:3], world.database.tables.offsets)


def _caught_up(world: World) -> bool:
    offsets = world.database.tables.offsets
    return all(offsets.get(number) == world.broker.end(topics.AUDIT, number) for number in range(PARTITIONS))
