"""The ports of `agents.host_ports` on the broker in memory."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from agents.host_ports import Key, Unreachable
from agents.ports import Output
from agents.topology import CHANGELOGS, TABLES
from ops.simulation.broker import Broker, Row, Writer
from ops.simulation.host_network import Network
from ops.simulation.shards import output_places
from ops.simulation.stores import FENCE, MemoryStore
from schemas import topics
from schemas.catalog import Catalog
from schemas.envelope import Headers


class Disk(MemoryStore):
    """See `agents.host_ports.LocalStore`."""

    def applied(self) -> int:
        return self.offset

    def replay(self, rows: Sequence[Row]) -> None:
        """Take over rows of the changelog that come after what is held."""
        for row in rows:
            if row.offset > self.offset:
                assert row.key is not None
                self.put_local(row.key, row.value)
                self.offset = row.offset


RowParts = tuple[bytes | None, bytes | None, Headers]


class SimulatedShardLog:
    """See `agents.host_ports.ShardLog`."""

    def __init__(
        self, broker: Broker, network: Network, key: Key, rng: random.Random, works: Callable[[str], None]
    ) -> None:
        self.key = key
        self.markers: Mapping[str, int] = {}
        self.writing = 0
        self._works = works
        self._broker = broker
        self._network = network
        self._rng = rng
        self._writer: Writer | None = None

    async def claim(self) -> Mapping[str, int]:
        self._works("claimed")
        topic, partition = self.key
        self._writer = writer = await self._network.ask(lambda: self._broker.new_epoch(f"{topic}-{partition}"))

        def mark() -> None:
            for place in output_places(self.key):
                self._broker.admit(writer, *place)
            for table in TABLES[topic]:
                self._broker.admit(writer, CHANGELOGS[table], partition)

        self._works("claimed")
        await self._network.ask(mark)
        self._works("claimed")
        self.markers = {
            table: await self._append(CHANGELOGS[table], partition, [(FENCE, b"marker", [])]) for table in TABLES[topic]
        }
        return self.markers

    async def write_tables(self, writes: Mapping[str, Mapping[bytes, bytes | None]]) -> Mapping[str, int]:
        self._works("decided")
        with self._counted():
            reached = await asyncio.gather(
                *(
                    self._append(CHANGELOGS[table], self.key[1], [(key, value, []) for key, value in rows.items()])
                    for table, rows in writes.items()
                )
            )
        return dict(zip(writes, reached, strict=True))

    async def write_outputs(self, outputs: Sequence[Output]) -> None:
        grouped: dict[Key, list[RowParts]] = defaultdict(list)
        for one in outputs:
            partition = self.key[1] if one.partition is None else one.partition
            grouped[one.topic, partition].append((one.key, one.value, one.headers))
        with self._counted():
            await asyncio.gather(*(self._append(*place, rows) for place, rows in grouped.items()))

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.writing += 1
        try:
            yield
        finally:
            self.writing -= 1

    async def _append(self, topic: str, partition: int, rows: list[RowParts]) -> int:
        """In order; several batches where the rows do not fit into one, so that a crash may fall between."""
        offset = -1
        while rows:
            count = self._rng.randint(1, len(rows)) if self._rng.random() < 0.3 else len(rows)
            batch, rows = rows[:count], rows[count:]

            def apply(batch: list[RowParts] = batch) -> int:
                last = -1
                for key, value, headers in batch:
                    last = self._broker.append(topic, partition, key, value, headers, self._writer)
                return last

            offset = await self._network.ask(apply)
        return offset

    async def stop(self) -> None:
        await asyncio.sleep(0)


class SimulatedCluster:
    """See `agents.host_ports.Cluster`."""

    def __init__(self, broker: Broker, network: Network, rng: random.Random, works: Callable[[str], None]) -> None:
        self.logs: list[SimulatedShardLog] = []
        self._broker = broker
        self._network = network
        self._rng = rng
        self._works = works

    async def start(self) -> None:
        await self._network.ask(lambda: None, 600)

    async def stop(self) -> None:
        await asyncio.sleep(0)

    def shard_log(self, key: Key) -> SimulatedShardLog:
        made = SimulatedShardLog(self._broker, self._network, key, self._rng, self._works)
        self.logs.append(made)
        return made

    async def committed(self) -> Mapping[Key, int]:
        return await self._network.ask(lambda: dict(self._broker.committed))

    async def bounds(self, keys: Iterable[Key]) -> Mapping[Key, tuple[int, int]]:
        wanted = list(keys)
        return await self._network.ask(lambda: {key: (0, self._broker.end(*key)) for key in wanted})

    async def send(self, outputs: Sequence[Output]) -> None:
        self._works("swept")
        for one in outputs:
            place = one.topic, one.partition or 0
            await self._network.ask(partial(self._broker.append, *place, one.key, one.value, one.headers))

    async def append_time(self) -> int:
        def apply() -> int:
            offset = self._broker.append(topics.CHAINS_CHANGELOG, 0, b"\x00clock", None, [])
            return self._broker.rows(topics.CHAINS_CHANGELOG, 0)[offset].timestamp

        return await self._network.ask(apply)


class SimulatedReference:
    """See `agents.host_ports.Reference`."""

    def __init__(self, broker: Broker, network: Network, rng: random.Random) -> None:
        self.catalog = Catalog()
        self.failed: BaseException | None = None
        self._broker = broker
        self._network = network
        self._rng = rng
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._read(1_000_000)
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def end_offset(self) -> int:
        return await self._network.ask(lambda: self._broker.end(topics.REFERENCE, 0))

    async def wait_for(self, offset: int, timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout):
                while self.catalog.offset < offset:  # noqa: ASYNC110 - a poll is as good here
                    await asyncio.sleep(0.02)
        except TimeoutError:
            return False
        return True

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._rng.choice((0.02, 0.1, 0.5)))
            if self.catalog.offset >= self._broker.end(topics.REFERENCE, 0):
                continue  # a fetch that brings nothing
            try:
                await self._read(self._rng.randint(1, 3))
            except Unreachable:
                continue

    async def _read(self, count: int) -> None:
        start = self.catalog.offset
        rows = await self._network.ask(lambda: self._broker.rows(topics.REFERENCE, 0)[start : start + count], 600)
        for row in rows:
            assert row.key is not None
            self.catalog.apply(row.key, row.value)
            self.catalog.offset = row.offset + 1
