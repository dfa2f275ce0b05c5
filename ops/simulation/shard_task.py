"""One shard in one process, from its claim to its end: as `agents.host` and `agents.runner` do it, driven by hand."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

from agents import barrier
from agents.ports import Incoming, Shard, Store
from agents.reference import CATALOG, ReferenceShard
from agents.requests import REQUESTS, WINDOWS, RequestShard
from agents.restaffing import Pace, Restaffing
from agents.security import SESSIONS, SecurityShard
from agents.sweep import REPEAT_AFTER_S, WindowSweep
from agents.topology import CHANGELOGS, TABLES
from ops.simulation.broker import Broker
from ops.simulation.organisation import rules_in_force
from ops.simulation.shard_log import SimulatedLog
from ops.simulation.shards import PARTITIONS, ShardKey
from ops.simulation.stepping import IDLE, Driven, step
from ops.simulation.stores import MemoryStore
from schemas import topics

if TYPE_CHECKING:
    from ops.simulation.processes import Process

#: A `CloseWindow` is sent again after this many ms of simulated time.
REPEAT_AFTER_MS = round(REPEAT_AFTER_S * 1000)


class ShardTask(Driven):
    """`owned` says whether the group still gives this shard to this task: only then may it commit."""

    def __init__(
        self, process: Process, key: ShardKey, broker: Broker, rng: random.Random, owned: Callable[[ShardTask], bool]
    ) -> None:
        self.process = process
        self.key = key
        self.stopping = False
        self.opened = False
        self.sweep: WindowSweep | None = None
        self.restaffing: Restaffing | None = None
        self._broker = broker
        self._rng = rng
        self._owned = owned
        self._impossible: set[int] = set()
        super().__init__(self._run)

    async def _run(self) -> None:
        log = SimulatedLog(self._broker, self.key, self._rng)
        await log.claim()
        topic, partition = self.key
        stores = {table: self.process.store(self.key, table) for table in TABLES[topic]}
        for table, store in stores.items():
            await step("recover")
            store.recover(self._broker.rows(CHANGELOGS[table], partition))
        await step("open")
        position = self._broker.committed.get(self.key, 0)
        shard = self._shard(stores, position)
        rebuild: Iterator[int] = iter(())
        if isinstance(shard, RequestShard):

            def seconds() -> float:
                return self._broker.clock.now / 1000

            self.sweep = WindowSweep(partition, stores[REQUESTS], stores[WINDOWS], seconds)
            self.restaffing = Restaffing(partition, stores[REQUESTS], shard, self.process.catalog, Pace(), seconds)
            rebuild = self.sweep.rebuild(self._rng.choice((1, 2, 3)))
        self.opened = True
        while not self.stopping:
            # Beside the deciding: a slice between batches, sometimes.
            if self._rng.random() < 0.5 and next(rebuild, None) is not None:
                await step("rebuild")
            rows = self._broker.rows(*self.key)[position : position + self._rng.choice((1, 1, 2, 3, 5, 8))]
            if not rows:
                await step("rebuild" if next(rebuild, None) is not None else IDLE)
                continue
            batch = [
                Incoming(topic, partition, row.offset, row.timestamp, row.key, row.value, row.headers) for row in rows
            ]
            await barrier.process(shard, batch, log, cast(dict[str, Store], stores), self._caught_up)
            position += len(rows)
            await step("offset commit")
            if self._owned(self):
                self._broker.committed[self.key] = position

    def _shard(self, stores: dict[str, MemoryStore], settled: int) -> Shard:
        topic, partition = self.key
        catalog, end = self.process.catalog, self._broker.end(*self.key)
        if topic == topics.SECURITY:
            return SecurityShard(partition, stores[SESSIONS], settled, end)
        if topic == topics.REFERENCE_COMMANDS:
            return ReferenceShard(stores[CATALOG], PARTITIONS, settled, end)
        return RequestShard(
            partition,
            stores,
            catalog,
            lambda: rules_in_force(catalog),
            settled,
            end,
            lambda offset: offset in self._impossible,
        )

    async def _caught_up(self, offset: int) -> None:
        if self._broker.end(topics.REFERENCE, 0) < offset:
            self._impossible.add(offset)
            return
        while self.process.catalog.offset < offset:
            await step("reference")
            self.process.follow(1)
