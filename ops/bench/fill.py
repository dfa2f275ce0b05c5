"""Commands straight onto `athena.commands`, in whole record batches, as the gateway writes them; and waiting until all is done.

For measuring what lies behind the gateway, and for filling a stack without HTTP. The worker decides them like any other.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.spread import partition_of
from ops.bench.load import submission
from ops.kafka_clients import Kafka
from ops.log_reader import partitions_of
from ops.postgres.clients import connect
from ops.stack.errors import StackError
from ops.stack.home import Home
from schemas import topics
from schemas.base import rfc3339
from schemas.commands import Approve, CommandBase, SubmitRequest
from schemas.envelope import Headers, derived_id, headers

SOURCE = "/athena/bench"
REQUESTER, APPROVERS = "sam.sales", ("l1.emea", "l2", "l3")
BATCH_BYTES = 900_000
#: Records of one batch: as many as the worker decides at once.
BATCH_RECORDS = 500
_POLL = 0.05
_TIME_OUT = 30.0
#: Nothing moves for so long: it is stuck, in seconds.
STALLED_AFTER = 60.0

Row = tuple[bytes, bytes, Headers]


@dataclass(frozen=True, slots=True)
class Ask:
    """Commands to be sent: `rows` by partition, in the order of the log."""

    rows: dict[int, list[Row]]

    @property
    def count(self) -> int:
        return sum(len(rows) for rows in self.rows.values())


def request_id_of(run: str, number: int) -> str:
    """The id of request `number` of that run."""
    return derived_id("request", _command_id(run, number, 1))


def _command_id(run: str, number: int, version: int) -> str:
    return derived_id("bench", run, number, version)


def ask(run: str, numbers: Iterable[int], partitions: int, approvals: int = 0) -> Ask:
    """Each request submitted and then approved up to `approvals` (0 to 3) times: all submissions first, then all of L1, …"""
    rows: dict[int, list[Row]] = {number: [] for number in range(partitions)}
    wanted = list(numbers)
    for version in range(1, approvals + 2):
        for number in wanted:
            row = _row(run, number, version)
            rows[partition_of(row[0], partitions)].append(row)
    return Ask(rows)


def _row(run: str, number: int, version: int) -> Row:
    request_id = request_id_of(run, number)
    command = _command(run, number, version, request_id)
    told = headers(
        id_=command.command_id,
        type_=f"athena.command.{type(command).__name__}",
        source=SOURCE,
        time=rfc3339(time.time_ns() // 1_000_000),
        subject=request_id,
        correlation_id=command.correlation_id,
    )
    return request_id.encode(), command.__pydantic_serializer__.to_json(command), told


def _command(run: str, number: int, version: int, request_id: str) -> CommandBase:
    command_id = _command_id(run, number, version)
    common: dict[str, Any] = {
        "command_id": command_id,
        "request_id": request_id,
        "correlation_id": command_id,
        "source_address": "127.0.0.1",
        "salt": secrets.token_hex(16),
    }
    if version == 1:
        return SubmitRequest(**common, actor_id=REQUESTER, **submission(number))
    return Approve(**common, actor_id=APPROVERS[version - 2], expected_version=version - 1)


async def send(kafka: Kafka, wanted: Ask) -> None:
    """Append all of it, idempotent and acknowledged by every replica, one batch under way per partition."""
    producer = kafka.producer(enable_idempotence=True, acks="all", max_batch_size=BATCH_BYTES)
    await producer.start()
    try:
        await asyncio.gather(*(_send_rows(producer, number, rows) for number, rows in wanted.rows.items()))
    finally:
        await producer.stop()


async def _send_rows(producer: Any, partition: int, rows: Sequence[Row]) -> None:
    for first in range(0, len(rows), BATCH_RECORDS):
        batch = producer.create_batch()
        for key, value, told in rows[first : first + BATCH_RECORDS]:
            if batch.append(timestamp=None, key=key, value=value, headers=told) is None:
                raise ValueError(f"{BATCH_RECORDS} commands do not fit into a batch of {BATCH_BYTES} bytes")
        acknowledged = await producer.send_batch(batch, topics.COMMANDS, partition=partition)
        await asyncio.wait_for(acknowledged, _TIME_OUT)


def chunks(first: int, last: int, size: int) -> Iterator[range]:
    """`range(first, last)` in pieces."""
    for begin in range(first, last, size):
        yield range(begin, min(last, begin + size))


class Progress:
    """How far worker and projector are, by what the broker and PostgreSQL say: a few small questions, no record is read."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._consumer: AIOKafkaConsumer | None = None
        self._database: asyncpg.Connection | None = None
        self._partitions: dict[str, list[TopicPartition]] = {}

    async def __aenter__(self) -> Progress:
        self._consumer = self._home.kafka.consumer(enable_auto_commit=False)
        await self._consumer.start()
        for topic in (topics.COMMANDS, topics.OUTCOMES, topics.AUDIT):
            numbers = await partitions_of(self._consumer, topic)
            self._partitions[topic] = [TopicPartition(topic, number) for number in numbers]
        self._database = await connect(str(self._home.endpoints()["postgres"]), timeout=_TIME_OUT)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._consumer is not None:
            await self._consumer.stop()
        if self._database is not None:
            await self._database.close()

    @property
    def partitions(self) -> int:
        """Of the commands topic."""
        return len(self._partitions[topics.COMMANDS])

    async def end(self, topic: str) -> int:
        """The sum of its partitions' ends."""
        assert self._consumer is not None
        ends = await self._consumer.end_offsets(self._partitions[topic])
        return sum(ends.values())

    async def applied(self) -> int:
        """The sum of the offsets of `athena.audit` that the read side has."""
        assert self._database is not None
        return int(await self._database.fetchval("SELECT coalesce(sum(next_offset), 0) FROM audit.applied_offsets"))

    async def reach(
        self, ask_for: Callable[[], Any], wanted: int, told: Callable[[int, int], None] = lambda done, of: None
    ) -> None:
        """Return once `await ask_for()` is at least `wanted`. Raises StackError when it stands still for 60 s."""
        last, moved = -1, time.monotonic()
        while True:
            now = int(await ask_for())
            if now >= wanted:
                return
            if now != last:
                last, moved = now, time.monotonic()
            elif time.monotonic() - moved > STALLED_AFTER:
                raise StackError(
                    f"nothing moved for {STALLED_AFTER:.0f} s at {now} of {wanted}: see athena status, and the logs"
                )
            told(now, wanted)
            await asyncio.sleep(_POLL)
