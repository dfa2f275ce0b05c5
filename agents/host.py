"""Owns the shards of this worker: claims them when they are assigned, runs them, gives them up when they are revoked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from agents import metrics
from agents.claim import Claim
from agents.clock import ClockGuard
from agents.exits import EXIT_FAILED, EXIT_FENCED
from agents.host_ports import DiskStore, Key, World
from agents.lag import Lag
from agents.ports import Fenced
from agents.requests import REQUESTS, WINDOWS, RequestShard
from agents.restaffing import Pace, Restaffing
from agents.rounds import Rounds
from agents.runner import Arrived, ShardRunner
from agents.shard_builder import ShardBuilder
from agents.sweep import WindowSweep
from agents.topology import TABLES
from agents.turns import Turns
from agents.window_index import rebuild
from schemas import topics

log = structlog.get_logger(__name__)

#: For the batch in hand when partitions are revoked, and when the process is asked to end.
PAUSE_TIMEOUT_S = 8.0
STOP_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 1.5


def _readable(lag: Lag, keys: Iterable[Key]) -> dict[str, int]:
    return {f"{topic}/{partition}": lag.committed((topic, partition)) for topic, partition in sorted(keys)}


class ShardHost:
    """All state of the worker beside Faust's own.

    Faust calls `pause` when partitions are revoked, `claim` when they are assigned, and `open` when their tables are recovered;
    each of them may come, or be cancelled, while another one waits for the broker.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.clock = ClockGuard(world.now_ms)
        self.lag = Lag(world.cluster)
        self.runners: dict[Key, ShardRunner] = {}
        self.sweeps: dict[int, WindowSweep] = {}
        self.restaffings: dict[int, Restaffing] = {}
        self._pace = Pace()
        self._turns = Turns()
        self._leaving: dict[ShardRunner, None] = {}
        self.opened = asyncio.Event()
        self._builder = ShardBuilder(world, self.lag.committed)
        self._claim: Claim | None = None
        self._opened_claim: Claim | None = None
        self._stopped = False
        self._rebuild: asyncio.Task[None] | None = None
        self._rounds = Rounds(world, self)

    async def start(self) -> None:
        """Read the reference data to its end, and start what runs beside the shards."""
        await self._world.reference.start()
        self._world.rules()  # a large file takes a second to be compiled, and nothing waits yet
        await self._world.cluster.start()
        self._rounds.start()

    async def stop(self) -> None:
        """Give everything up, within `STOP_TIMEOUT_S` and `CLOSE_TIMEOUT_S`; safe to call twice.

        A batch that does not end in that time is left: nothing of it was acknowledged, so it comes again.
        """
        self._stopped = True
        try:
            await self._finish_batches(STOP_TIMEOUT_S)
        except TimeoutError:
            log.warning("a batch did not end when the worker was asked to; it will be decided again")
        claim, self._claim = self._claim, None
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._rounds.stop()
                if claim is not None:
                    await claim.close()
                await self._world.reference.stop()
                await self._world.cluster.stop()
        except TimeoutError:
            log.warning("connections did not close when the worker was asked to end")

    async def claim(self, assigned: Iterable[Any]) -> None:
        """Before recovery: shut every earlier owner out of the shards that are ours now."""
        await self.pause()
        # Until the new claim is complete there is none: a recovery that ends meanwhile opens nothing.
        earlier, self._claim = self._claim, None
        if earlier is not None:
            await earlier.close()
        keys = sorted((tp[0], tp[1]) for tp in assigned if tp[0] in TABLES)
        claim = await Claim.of(
            self._world.cluster, keys, lambda key, error: self._failed(key, self._stores(key), error)
        )
        if self._stopped:
            await claim.close()
            return
        self._claim = claim
        log.info("shards claimed", shards=[f"{topic}/{number}" for topic, number in claim.logs])

    async def open(self) -> None:
        """After recovery: build the shards from their tables and start deciding."""
        claim = self._claim
        if claim is None or claim is self._opened_claim or self._stopped:
            return  # the recovery of an earlier assignment: it has nothing to open
        stores_of = {key: self._stores(key) for key in claim.logs}
        if behind := claim.behind(stores_of):
            log.warning("tables are not recovered up to our claim; not opened", tables=behind)
            return
        await self.lag.refresh()
        bounds = await self._world.cluster.bounds(claim.logs) if claim.logs else {}
        now = asyncio.get_running_loop().time
        sweeps = {
            partition: WindowSweep(partition, stores[REQUESTS], stores[WINDOWS], now)
            for (topic, partition), stores in stores_of.items()
            if topic == topics.COMMANDS
        }
        if claim is not self._claim or claim is self._opened_claim:
            return  # the next rebalance came meanwhile: it opens what is ours then
        for key, stores in stores_of.items():
            shard = self._builder.build(key, stores, bounds[key][1])
            failed = partial(self._failed, key, stores)
            self.runners[key] = ShardRunner(
                shard, claim.logs[key], stores, self._builder.caught_up, self.clock, failed, self._turns
            )
            if isinstance(shard, RequestShard):
                catalog = self._world.reference.catalog
                self.restaffings[key[1]] = Restaffing(key[1], stores[REQUESTS], shard, catalog, self._pace, now)
        self._opened_claim, self.sweeps = claim, sweeps
        metrics.PARTITIONS.set(sum(1 for topic, _ in self.runners if topic == topics.COMMANDS))
        metrics.READY.set(1)
        self.opened.set()
        self._rebuild = asyncio.create_task(
            self._rounds.guarded(partial(rebuild, list(sweeps.values()))), name="rebuild-windows"
        )
        log.info("shards opened; deciding", shards=len(self.runners), committed=_readable(self.lag, self.runners))

    async def pause(self) -> None:
        """Stop deciding: finish the batches in hand, drop what is queued."""
        try:
            await self._finish_batches(PAUSE_TIMEOUT_S)
        except TimeoutError as error:
            self._world.die("a batch did not end when its partition was revoked", EXIT_FAILED, error)

    async def dispatch(self, key: Key, arrived: Sequence[Arrived], generation: int) -> None:
        """Hand records to their shard. Those of an earlier assignment are dropped: they will come again, to their owner."""
        await self.opened.wait()
        runner = self.runners.get(key)
        if runner is not None and generation == self._world.generation():
            await runner.put(arrived)

    async def _finish_batches(self, timeout: float) -> None:
        self.opened.clear()
        metrics.READY.set(0)
        if self._rebuild is not None:
            self._rebuild.cancel()
            self._rebuild = None
        # Whoever comes while another waits here, a stop during a rebalance say, waits for the same batches.
        self._leaving.update(dict.fromkeys(self.runners.values()))
        self.runners, self.sweeps, self.restaffings = {}, {}, {}
        await asyncio.gather(*(self._finish(runner, timeout) for runner in list(self._leaving)))

    async def _finish(self, runner: ShardRunner, timeout: float) -> None:
        await runner.stop(timeout)
        self._leaving.pop(runner, None)

    def _stores(self, key: Key) -> dict[str, DiskStore]:
        topic, partition = key
        return {name: self._world.store(name, partition) for name in TABLES[topic]}

    def _failed(self, key: Key, stores: Mapping[str, DiskStore], error: BaseException) -> None:
        topic, partition = key
        if isinstance(error, Fenced):
            for store in stores.values():
                store.wipe()
            self._world.die(
                f"{topic}/{partition} has another owner; this one ends and its store is wiped", EXIT_FENCED, error
            )
        self._world.die(f"{topic}/{partition} cannot go on; nothing of its batch was committed", EXIT_FAILED, error)
