"""One shard in one process, from its claim to its end: as `agents.host` and `agents.runner` do it, driven by hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from agents import barrier
from agents.ports import Incoming, Output, Shard, Store
from agents.reference import CATALOG, ReferenceShard
from agents.requests import REQUESTS, WINDOWS, RequestShard
from agents.security import SESSIONS, SecurityShard
from agents.sweep import WindowSweep
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

#: A `CloseWindow` is sent again after this many ms of simulated time, as the sweep does by its own clock.
REPEAT_AFTER_MS = 20_000


class SimulatedSweep(WindowSweep):
    """The real sweep, its memory of what it sent kept by the simulated clock."""

    def __init__(self, partition: int, requests: MemoryStore, windows: MemoryStore) -> None:
        super().__init__(partition, cast(Any, requests), cast(Any, windows))
        self._sent_ms: dict[str, int] = {}

    def due(self, now_ms: int) -> list[Output]:
        for request_id, at in list(self._sent_ms.items()):
            if now_ms - at >= REPEAT_AFTER_MS:
                del self._sent_ms[request_id]
                self._sent.pop(request_id, None)
        found = super().due(now_ms)
        for request_id in self._sent:
            self._sent_ms.setdefault(request_id, now_ms)
        return found


class ShardTask(Driven):
    """`owned` says whether the group still gives this shard to this task: only then may it commit."""

    def __init__(
        self, process: Process, key: ShardKey, broker: Broker, rng: random.Random, owned: Callable[[ShardTask], bool]
    ) -> None:
        self.process = process
        self.key = key
        self.stopping = False
        self.opened = False
        self.sweep: SimulatedSweep | None = None
        self._broker = broker
        self._rng = rng
        self._owned = owned
        self._known_committed = 0
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
        self._known_committed = position = self._broker.committed.get(self.key, 0)
        shard = self._shard(stores)
        if topic == topics.COMMANDS:
            self.sweep = SimulatedSweep(partition, stores[REQUESTS], stores[WINDOWS])
            for _ in self.sweep.rebuild():
                pass
        self.opened = True
        while not self.stopping:
            rows = self._broker.rows(*self.key)[position : position + self._rng.choice((1, 1, 2, 3, 5, 8))]
            if not rows:
                await step(IDLE)
                continue
            batch = [
                Incoming(topic, partition, row.offset, row.timestamp, row.key, row.value, row.headers) for row in rows
            ]
            await barrier.process(shard, batch, log, cast(dict[str, Store], stores), self._caught_up)
            position += len(rows)
            await step("offset commit")
            if self._owned(self):
                self._broker.committed[self.key] = position
            if self._rng.random() < 0.3:
                self._known_committed = self._broker.committed.get(self.key, 0)

    def _shard(self, stores: dict[str, MemoryStore]) -> Shard:
        topic, partition = self.key
        catalog = self.process.catalog
        if topic == topics.SECURITY:
            return SecurityShard(partition, stores[SESSIONS], self._committed)
        if topic == topics.REFERENCE_COMMANDS:
            return ReferenceShard(stores[CATALOG], PARTITIONS, self._committed)
        return RequestShard(
            partition,
            stores,
            catalog,
            lambda: rules_in_force(catalog),
            self._committed,
            lambda offset: offset in self._impossible,
        )

    def _committed(self) -> int:
        return self._known_committed

    async def _caught_up(self, offset: int) -> None:
        if self._broker.end(topics.REFERENCE, 0) < offset:
            self._impossible.add(offset)
            return
        while self.process.catalog.offset < offset:
            await step("reference")
            self.process.follow(1)
