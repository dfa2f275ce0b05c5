"""Faust around a real `ShardHost`: how it joins, recovers, delivers and commits, after faust-streaming 0.15.3.

What is copied on purpose: revoked and assigned come one after the other, and heartbeats wait for them; the takeover runs in a task
of its own, which wakes some steps after it was told to, and may meet the next rebalance by then; a record carries the generation in
which it was taken from the fetcher; acknowledgements know no generation, and are forgotten when partitions are revoked, not when
they come late; offsets are committed up to the first gap in them, by the rule of `Consumer._new_offset`.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from agents.continuity import Continuity, Verdict
from agents.host import ShardHost
from agents.host_ports import Key, Unreachable, World
from agents.ports import Incoming
from agents.runner import Arrived
from agents.takeover import Takeover
from agents.topology import TABLES
from ops.simulation.broker import Broker, Row
from ops.simulation.host_group import Group
from ops.simulation.host_loop import Life
from ops.simulation.host_network import Network
from ops.simulation.host_restore import SimulatedRestore
from ops.simulation.host_world import Disk

T = TypeVar("T")

HEARTBEAT_S, COMMIT_S = 2.0, 1.0
BUFFERED = 16


class SimulatedFaust:
    """The Faust app of one life of a worker. `on_opened` is called after each `open` of the host; `given_up` from the end of a
    revocation to the next assignment."""

    def __init__(
        self,
        life: Life,
        broker: Broker,
        group: Group,
        network: Network,
        disk: Callable[[Key, str], Disk],
        rng: random.Random,
        on_opened: Callable[[SimulatedFaust], None],
        crash: Callable[[str, Exception], None],
    ) -> None:
        self.life = life
        self.generation = 0
        self.assigned: frozenset[Key] = frozenset()
        self.given_up = True
        self.host: ShardHost
        self._takeover: Takeover
        self._broker = broker
        self._group = group
        self._network = network
        self._disk = disk
        self._rng = rng
        self._on_opened = on_opened
        self._crash = crash
        self._flow = False
        self._position: dict[Key, int] = {}
        self._order: Continuity[Key] = Continuity()
        self._committed: dict[Key, int] = {}
        self.acked: defaultdict[Key, set[int]] = defaultdict(set)
        self._buffers: dict[str, deque[tuple[Key, Row, int]]] = {topic: deque() for topic in TABLES}
        self._arrived = {topic: asyncio.Event() for topic in TABLES}
        self._recovery_start = asyncio.Event()
        self._recovery_generation = 0
        self.tasks: list[asyncio.Task[None]] = []

    def run_with(self, world: World) -> None:
        """Make the host."""
        self.host = ShardHost(world)
        self._takeover = Takeover(self.host, self._restore, world.die)

    async def start(self) -> None:
        """Start the host, then join the group and go on for ever."""
        await self.host.start()
        agents = [self._deliver(topic) for topic in TABLES]
        for work in (self._coordinate(), self._recover(), self._fetch(), self._commit(), *agents):
            self.tasks.append(asyncio.create_task(work))

    async def stop(self) -> None:
        """As after SIGTERM: the host first, then the last commit. A static member does not leave the group."""
        await self.host.stop()
        self._flow = False
        await self._commit_now()
        for task in self.tasks:
            task.cancel()

    async def _coordinate(self) -> None:
        while True:
            answer = await self._network.ask(lambda: self._group.join(self.life.name, self.life), 3600)
            # Faust takes the new generation over from the consumer's thread, before anybody is told of the assignment.
            self.generation, assigned = await answer
            self.given_up = False
            # So does Kafka's own client: what it fetched for the last assignment is void.
            self._position.clear()
            self._order.forget()
            await self._on_assigned(assigned)
            while await self._heartbeat():  # noqa: ASYNC110 - the group answers, nobody announces
                await asyncio.sleep(HEARTBEAT_S * self._rng.uniform(0.2, 1.0))
            await self._on_revoked()
            self.given_up = True

    async def _heartbeat(self) -> bool:
        try:
            return await self._network.ask(
                lambda: self._group.heartbeat(self.life.name, self.life, self.generation), HEARTBEAT_S
            )
        except Unreachable:
            return True

    async def _on_revoked(self) -> None:
        self._takeover.revoke()
        self._flow = False
        self._position.clear()
        self.acked.clear()
        self._committed.clear()
        for buffer in self._buffers.values():
            # What a stream has taken already stays with it.
            if self._rng.random() < 0.5:
                buffer.clear()
        await asyncio.sleep(0)
        await self._takeover.interrupt()
        await self.host.pause()

    async def _on_assigned(self, assigned: frozenset[Key]) -> None:
        self.assigned = assigned
        await asyncio.sleep(self._rng.choice((0, 0.01, 0.3)))
        await self._takeover.interrupt()
        self._takeover.assign(assigned)
        self._recovery_start.set()
        self._recovery_generation = self.generation

    def _restore(self) -> SimulatedRestore:
        return SimulatedRestore(self._broker, self._network, self.assigned, self._disk, self._rng)

    async def _recover(self) -> None:
        while True:
            await self._recovery_start.wait()
            # Faust waits for more than this, and so takes some steps until it goes on: long ones while a batch is decided.
            await asyncio.sleep(self._rng.choice((0, 0, 0.02, 0.1)))
            self._recovery_start.clear()
            generation, assigned = self._recovery_generation, self.assigned
            try:
                done = await self._takeover.run()
            except Exception as error:
                self._crash("the tables could not be restored", error)
                return
            self._on_opened(self)
            if not done or self.generation != generation:
                continue
            found = await self._insist(lambda: {key: self._broker.committed.get(key, 0) for key in assigned})  # noqa: B023
            if self._recovery_start.is_set():
                continue
            self._committed = dict(found)
            self._position = dict(found)
            for key, offset in found.items():
                self._order.begin(key, offset)
            self._flow = True

    async def _fetch(self) -> None:
        while True:
            await asyncio.sleep(self._rng.choice((0.01, 0.05, 0.3)))
            for key in sorted(self.assigned):
                buffer = self._buffers[key[0]]
                if not self._flow or len(buffer) >= BUFFERED:
                    continue
                # A recovery may resume the flow of the next assignment: then Kafka's own client begins at what is committed.
                start = self._position.setdefault(key, self._broker.committed.get(key, 0))
                if start >= self._broker.end(*key):
                    continue  # a fetch that brings nothing
                try:
                    rows = await self._network.ask(partial(self._rows, key, start, self._rng.randint(1, 6)))
                except Unreachable:
                    continue
                if self._position.get(key) != start:
                    continue  # Kafka's own client drops what comes from before a rebalance
                self._position[key] = start + len(rows)
                # On its way from the consumer's thread; then Faust takes it for what belongs to the generation of that moment.
                await asyncio.sleep(0 if self._rng.random() < 0.97 else self._rng.uniform(0.1, 6.0))
                if self._flow:
                    self._take(key, rows)

    def _take(self, key: Key, rows: list[Row]) -> None:
        """As `agents.consumer`: each partition without a hole."""
        for row in rows:
            wanted = self._order.expected(key, row.offset)
            verdict = self._order.judge(key, row.offset)
            if verdict is Verdict.DELIVER:
                self._buffers[key[0]].append((key, row, self.generation))
                self._arrived[key[0]].set()
            elif verdict is Verdict.SEEK:
                self._position[key] = wanted

    async def _deliver(self, topic: str) -> None:
        """The agent of one topic: it may hold a record of an assignment that is over."""
        buffer, arrived = self._buffers[topic], self._arrived[topic]
        while True:
            if not buffer:
                arrived.clear()
                await arrived.wait()
                continue
            key, first, generation = buffer.popleft()
            rows = [first]
            # What one poll brought of a partition comes together.
            while buffer and buffer[0][0] == key and buffer[0][2] == generation and self._rng.random() < 0.7:
                rows.append(buffer.popleft()[1])
            await asyncio.sleep(self._rng.choice((0, 0, 0.005, 0.1)))
            await self.host.dispatch(key, [self._arriving(key, row) for row in rows], generation)

    def _arriving(self, key: Key, row: Row) -> Arrived:
        record = Incoming(*key, row.offset, row.timestamp, row.key, row.value, row.headers)
        return Arrived(record, partial(self.acked[key].add, row.offset))

    async def _commit(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_S)
            await self._commit_now()

    async def _commit_now(self) -> None:
        offsets = {key: offset for key in sorted(self.acked) if (offset := self._committable(key)) is not None}
        mine = {key: offset for key, offset in offsets.items() if key in self.assigned}
        if not mine:
            return
        generation = self.generation
        try:
            done = await self._network.ask(partial(self._group.commit, self.life, self.life.name, generation, mine), 5)
        except Unreachable:
            return
        if done:
            self._committed.update(mine)

    def _committable(self, key: Key) -> int | None:
        """`Consumer._new_offset` and `_should_commit`: the first run of acknowledged offsets, which is then forgotten."""
        acked, committed = sorted(self.acked[key]), self._committed.get(key, 0)
        if not acked or (committed and acked[0] - committed > 1):
            return None
        end = acked[0]
        while end in self.acked[key]:
            self.acked[key].discard(end)
            end += 1
        return end if end > committed else None

    def _rows(self, place: Key, start: int, count: int) -> list[Row]:
        return self._broker.rows(*place)[start : start + count]

    async def _insist(self, apply: Callable[[], T]) -> T:
        return await self._network.ask(apply, 3600)
