"""Mistakes that somebody could make around the shards, each as one patch of the real code. `PLANTED` names them all.

A fetch that comes late (`agents.continuity`) does harm in too few seeds to be one of them: `tests/unit/agents/test_continuity.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agents.claim import Claim
from agents.clock import ClockGuard
from agents.host import ShardHost
from agents.host_ports import Key
from agents.misdated import Misdated
from agents.ports import Effects, Fenced, Incoming
from agents.rounds import Rounds
from agents.runner import Arrived, ShardRunner
from agents.takeover import Takeover
from ops.simulation.host_world import Disk

Patch = pytest.MonkeyPatch


def claimed_after_its_revocation(patch: Patch) -> None:
    """A takeover that wakes late takes over what is revoked by then. It was like that once."""
    real = Takeover.run

    async def run(self: Takeover) -> bool:
        self._revoked = False
        return await real(self)

    patch.setattr(Takeover, "run", run)


def revoked_during_a_claim(patch: Patch) -> None:
    """A revocation does not wait for the claim under way."""

    async def interrupt(self: Takeover) -> None:
        self.revoke()

    patch.setattr(Takeover, "interrupt", interrupt)


def opened_on_a_stopped_restore(patch: Patch) -> None:
    """What a rebalance has broken off is opened as it is."""

    async def run(self: Takeover) -> bool:
        self._idle.clear()
        try:
            await self._host.claim(self._assigned)
            self._restore = self._make_restore()
            await self._restore.run()
            await self._host.open()
            return not self._revoked
        finally:
            self._restore = None
            self._idle.set()

    patch.setattr(Takeover, "run", run)
    patch.setattr(Claim, "behind", lambda *_: [])


def restored_before_the_claim(patch: Patch) -> None:
    """Tables are read while an earlier owner may still write."""

    async def run(self: Takeover) -> bool:
        self._idle.clear()
        try:
            self._restore = self._make_restore()
            await self._restore.run()
            await self._host.claim(self._assigned)
            await self._host.open()
            return not self._revoked
        finally:
            self._restore = None
            self._idle.set()

    patch.setattr(Takeover, "run", run)
    patch.setattr(Claim, "behind", lambda *_: [])


def batch_in_hand_dropped_and_acknowledged(patch: Patch) -> None:
    """Giving a shard up breaks the batch off, yet says that it was done."""
    real = ShardRunner._batch

    async def batch(self: Any) -> None:
        taken = list(self._queue)[:500]
        work = asyncio.ensure_future(real(self))
        stopped = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not work.done():
            work.cancel()
            for one in taken:
                one.acknowledge()
        else:
            work.result()

    patch.setattr(ShardRunner, "_batch", batch)


def acknowledged_when_queued(patch: Patch) -> None:
    """The offset is committed past what is only queued."""
    real = ShardRunner.put

    async def put(self: ShardRunner, arrived: Arrived) -> None:
        await real(self, arrived)
        arrived.acknowledge()

    patch.setattr(ShardRunner, "put", put)


def fenced_store_kept(patch: Patch) -> None:
    real = ShardHost._failed

    def failed(self: ShardHost, key: Key, stores: Any, error: BaseException) -> None:
        real(self, key, {} if isinstance(error, Fenced) else stores, error)

    patch.setattr(ShardHost, "_failed", failed)


def older_generation_accepted(patch: Patch) -> None:
    """A record of the last assignment goes to the shard of this one, before those that come first."""

    async def dispatch(self: ShardHost, key: Key, arrived: Arrived, generation: int) -> None:
        await self.opened.wait()
        runner = self.runners.get(key)
        if runner is not None:
            await runner.put(arrived)

    patch.setattr(ShardHost, "dispatch", dispatch)


def clock_guard_ignored(patch: Patch) -> None:
    patch.setattr(ClockGuard, "agrees", lambda *_: True)


def swept_by_a_wrong_clock(patch: Patch) -> None:
    """The sweep does not ask whether the clocks agree."""

    async def sweep(self: Rounds) -> None:
        await asyncio.sleep(0.5)
        await self._host.opened.wait()
        for one in list(self._host.sweeps.values()):
            if due := one.due(self._world.now_ms()):
                await self._world.cluster.send(due)

    patch.setattr(Rounds, "_sweep", sweep)


def decided_as_misdated(patch: Patch) -> None:
    """A record that a wrong clock has stamped is decided at that time."""

    def handle(self: Misdated, record: Incoming, effects: Effects) -> None:
        self._shard.handle(record, effects)

    patch.setattr(Misdated, "handle", handle)


def stopped_without_its_batch(patch: Patch) -> None:
    """The process is asked to end, and does so in the middle of a batch."""

    async def finish(self: ShardHost, timeout: float) -> None:
        self.opened.clear()
        self.runners, self.sweeps = {}, {}

    patch.setattr(ShardHost, "_finish_batches", finish)


def stop_forgets_a_rebalance(patch: Patch) -> None:
    """A stop that comes while partitions are revoked finds no batch to wait for. It was like that once."""

    async def finish(self: ShardHost, timeout: float) -> None:
        self.opened.clear()
        runners, self.runners, self.sweeps = self.runners, {}, {}
        await asyncio.gather(*(runner.stop(timeout) for runner in runners.values()))

    patch.setattr(ShardHost, "_finish_batches", finish)


def recovery_skipped(patch: Patch) -> None:
    """A store that is there is taken as it is."""
    real = Disk.replay

    def replay(self: Disk, rows: Any) -> None:
        if self.data and rows[0].key != b"\x00fence":
            self.offset = rows[-1].offset
        else:
            real(self, rows)

    patch.setattr(Disk, "replay", replay)


PLANTED: dict[str, Callable[[Patch], None]] = {
    one.__name__: one
    for one in (
        claimed_after_its_revocation,
        revoked_during_a_claim,
        opened_on_a_stopped_restore,
        restored_before_the_claim,
        batch_in_hand_dropped_and_acknowledged,
        acknowledged_when_queued,
        fenced_store_kept,
        older_generation_accepted,
        clock_guard_ignored,
        swept_by_a_wrong_clock,
        decided_as_misdated,
        stopped_without_its_batch,
        stop_forgets_a_rebalance,
        recovery_skipped,
    )
}
