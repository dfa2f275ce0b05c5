"""Gateway processes: the real path from a POST to its answer, on a simulated broker that may keep silent."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import KafkaConnectionError

from gateway.http.call import Call
from gateway.http.problems import unavailable
from gateway.streams.issued import Issued
from gateway.streams.outcomes import Outcomes
from ops.kafka_clients import Kafka
from ops.simulation.broker import Broker, Row
from ops.simulation.database import MemoryDatabase
from ops.simulation.loop import VirtualLoop
from ops.simulation.shards import PARTITIONS, partition_of
from schemas import topics
from schemas.catalog import Catalog
from schemas.envelope import Headers, header
from schemas.outcomes import ANSWERS

#: Seconds that a POST waits for its outcome.
COMMAND_WAIT = 2.0
#: What can go wrong between a gateway and the broker.
TROUBLES = ("send refused", "acknowledgement dropped", "acknowledgement delayed", "record delayed", "outcomes cut off")


@dataclass(slots=True)
class Network:
    """Between gateways and the broker: the `trouble` that each send has until `until` (ms)."""

    trouble: str | None = None
    until: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    offset: int


class SimulatedProducer:
    """See `gateway.streams.producer.Producer`: what was not acknowledged in time may still arrive."""

    def __init__(
        self, broker: Broker, loop: VirtualLoop, network: Network, rng: random.Random, faults: Counter[str]
    ) -> None:
        #: By correlation id, where the record came to be.
        self.sent: dict[str, int] = {}
        self._broker = broker
        self._loop = loop
        self._network = network
        self._rng = rng
        self._faults = faults

    async def send(self, topic: str, key: bytes, value: bytes, headers: Headers) -> Sent:
        rng, trouble = self._rng, self._network.trouble
        partition = partition_of(key.decode())
        if self._broker.clock.now >= self._network.until or rng.random() < 0.3:
            trouble = None
        if trouble is not None:
            self._faults[trouble] += 1
        if trouble == "send refused":
            raise unavailable("The message log did not take the command in time.")
        if trouble == "record delayed":
            self._loop.call_later(rng.random() * 15.0, self._broker.append, topic, partition, key, value, headers)
            raise unavailable("The message log did not take the command in time.")
        if rng.random() < 0.5:
            await asyncio.sleep(rng.random() * 0.2)
        offset = self._broker.append(topic, partition, key, value, headers)
        if trouble == "acknowledgement dropped":
            await asyncio.sleep(rng.random() * 5.0)
            raise unavailable("The message log did not take the command in time.")
        if trouble == "acknowledgement delayed":
            await asyncio.sleep(rng.random() * 4.0)
        elif rng.random() < 0.3:
            await asyncio.sleep(rng.random() * 0.2)
        self.sent[header(headers, "correlation_id") or ""] = offset
        return Sent(offset)


class SimulatedConsumer:
    """What `Outcomes` asks of an aiokafka consumer. `delivered` tells, per command id and offset of a record of that command, when
    its newest outcome was handed over."""

    def __init__(
        self, broker: Broker, loop: VirtualLoop, rng: random.Random, delivered: dict[tuple[str, int], int]
    ) -> None:
        self._broker = broker
        self._loop = loop
        self._rng = rng
        self._delivered = delivered
        self._positions: dict[Any, int] = {}
        self._woken: asyncio.Future[None] | None = None
        self.cut_off = False

    async def start(self) -> None:
        if self._rng.random() < 0.2:
            raise KafkaConnectionError("no broker answers")

    async def stop(self) -> None:
        self._positions = {}

    def assign(self, partitions: Iterable[Any]) -> None:
        self._positions = dict.fromkeys(partitions, 0)

    def seek(self, partition: Any, offset: int) -> None:
        self._positions[partition] = offset

    async def end_offsets(self, partitions: Iterable[Any]) -> dict[Any, int]:
        return {one: self._broker.end(topics.OUTCOMES, one.partition) for one in partitions}

    async def getmany(self, timeout_ms: int) -> Mapping[Any, list[Row]]:
        while not self.cut_off and not self._new():
            self._woken = self._loop.create_future()
            await self._woken
        if self._rng.random() < 0.6:
            await asyncio.sleep(self._rng.random() * 0.3)
        if self.cut_off:
            raise KafkaConnectionError("the connection broke")
        found = {one: self._broker.rows(topics.OUTCOMES, one.partition)[at:] for one, at in self._positions.items()}
        for one, rows in found.items():
            self._positions[one] += len(rows)
            for row in rows:
                subject, answers = header(row.headers, "ce_subject"), header(row.headers, ANSWERS)
                if subject is not None and answers is not None:
                    self._delivered[subject, int(answers)] = self._broker.clock.now
        return {one: rows for one, rows in found.items() if rows}

    def pause(self, *_: Any) -> None:
        """Nothing comes before the next `getmany` anyway."""

    def resume(self, *_: Any) -> None:
        """See `pause`."""

    def wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def _new(self) -> bool:
        return any(self._broker.end(topics.OUTCOMES, one.partition) > at for one, at in self._positions.items())


class NotingIssued(Issued):
    """Notes when a gateway gave up waiting."""

    def __init__(self, database: MemoryDatabase, broker: Broker) -> None:
        super().__init__(database)  # type: ignore[arg-type]
        self._broker = broker
        self.gave_up: dict[str, int] = {}

    async def promise(self, command_id: str, user_id: str) -> None:
        self.gave_up[command_id] = self._broker.clock.now
        await super().promise(command_id, user_id)


class Gateway:
    """One gateway process. What it remembers is gone with it; the read side and the log stay."""

    def __init__(
        self, name: str, broker: Broker, loop: VirtualLoop, database: MemoryDatabase, network: Network,
        rng: random.Random, faults: Counter[str],
    ) -> None:  # fmt: skip
        self.name = name
        self._broker = broker
        self._loop = loop
        self._database = database
        self._network = network
        self._rng = rng
        self._faults = faults
        #: In the order in which they began: a set would end them in another order each time.
        self.tasks: dict[asyncio.Task[None], None] = {}
        self.start()

    def start(self) -> None:
        """A new process, ready once it follows the outcomes and knows the reference data."""
        self.delivered: dict[tuple[str, int], int] = defaultdict(lambda: -1)
        self.catalog = Catalog()
        self.follow(1_000_000)
        self._consumers: list[SimulatedConsumer] = []
        self.outcomes = Outcomes(Kafka(""), PARTITIONS, self._consumer)
        self.issued = NotingIssued(self._database, self._broker)
        self.producer = SimulatedProducer(self._broker, self._loop, self._network, self._rng, self._faults)
        self.services: Any = SimpleNamespace(
            settings=SimpleNamespace(command_wait=COMMAND_WAIT),
            catalog=self.catalog,
            database=self._database,
            outcomes=self.outcomes,
            producer=self.producer,
            issued=self.issued,
            limits=SimpleNamespace(user=lambda _: None),
            nonce=lambda size: f"{self._rng.getrandbits(8 * size):0{2 * size}x}",
            now_ms=lambda: self._broker.clock.now,
        )
        self.spawn(self._start_outcomes())

    async def _start_outcomes(self) -> None:
        while True:
            try:
                await self.outcomes.start()
            except KafkaConnectionError:
                await asyncio.sleep(0.5)
                continue
            assert self.outcomes._task is not None
            self.tasks[self.outcomes._task] = None
            return

    def _consumer(self, **_: Any) -> SimulatedConsumer:
        made = SimulatedConsumer(self._broker, self._loop, self._rng, self.delivered)
        self._consumers.append(made)
        return made

    @property
    def ready(self) -> bool:
        return self.outcomes.ready

    def spawn(self, coroutine: Any) -> None:
        """A task that ends with this process."""
        task = self._loop.spawn(coroutine)
        self.tasks[task] = None
        task.add_done_callback(lambda done: self.tasks.pop(done, None))

    def restart(self) -> None:
        """`kill -9` and a new start: those who wait learn nothing."""
        tasks, self.tasks = list(self.tasks), {}
        self._loop.kill(tasks)
        self.start()

    def cut_off(self) -> None:
        """Its connection for outcomes breaks."""
        for consumer in self._consumers[-1:]:
            consumer.cut_off = True
            consumer.wake()

    def wake(self) -> None:
        """The log has grown."""
        for consumer in self._consumers[-1:]:
            consumer.wake()

    def follow(self, count: int) -> None:
        """Apply up to `count` further records of `athena.reference`."""
        for row in self._broker.rows(topics.REFERENCE, 0)[self.catalog.offset : self.catalog.offset + count]:
            assert row.key is not None
            self.catalog.apply(row.key, row.value)
            self.catalog.offset = row.offset + 1

    def call(self, correlation_id: str, **headers: str) -> Call:
        """A call as the edge hands it to a handler."""
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        raw.append((b"x-correlation-id", correlation_id.encode()))
        scope = {"type": "http", "headers": raw, "client": ("192.0.2.7", 443)}
        return Call(scope, _no_body, self.services)


async def _no_body() -> Any:
    raise AssertionError("a body is read by the route, which is not part of this")
