"""Gathers the records of calls that come at the same time, and sends them as one batch for each partition."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerClosed
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import RecordMetadata

from gateway.streams.pace import TARGET, Pace
from schemas.envelope import Headers

log = structlog.get_logger(__name__)

#: How long a call waits until its records are acknowledged.
SEND_SECONDS = 5.0
#: A rules file of 1 MiB fits, whatever its JSON escapes; its topics take as much. It is a batch by itself.
MAX_RECORD_BYTES = 4 * 1024 * 1024
#: Every topic takes batches of 1 MiB.
MAX_BATCH_BYTES = 900_000

#: Key, value, headers.
Record = tuple[bytes, bytes, Headers]
_hash = lru_cache(maxsize=4096)(murmur2)


@dataclass(frozen=True, slots=True)
class Sent:
    """Where a record is in its partition; -1 when the broker has it and does not know where any more."""

    offset: int


@dataclass(eq=False, slots=True)
class _Call:
    """Records that are acknowledged together."""

    done: asyncio.Future[list[Sent]]
    sent: list[Sent | None]
    left: int
    queued: list[_Queued] = field(default_factory=list)

    def acknowledge(self, index: int, offset: int) -> None:
        self.sent[index] = Sent(offset)
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result([one for one in self.sent if one is not None])

    def fail(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(copy.copy(error))  # each raises it, and a traceback grows with each


@dataclass(eq=False, slots=True)
class _Lane:
    """A partition: what waits for it in order, and whether a batch is on its way. One at a time, so that none overtakes."""

    waiting: dict[_Queued, None] = field(default_factory=dict)
    busy: bool = False


@dataclass(eq=False, slots=True)
class _Queued:
    call: _Call
    index: int
    record: Record
    lane: _Lane


class Outbox:
    """One producer's records. Calls that have waited for `SEND_SECONDS` take back what is not on its way yet; how many calls there
    are is bounded by whoever makes them.
    """

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self.producer = producer
        #: Of each topic; they are set once, and every process knows them for as long as it lives.
        self._partitions: dict[str, int] = {}
        self._lanes: dict[TopicPartition, _Lane] = {}
        self._loop = asyncio.get_running_loop()
        self._pace = Pace()
        #: Records that nothing but the pace keeps from being sent.
        self._ready = 0
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._woken: asyncio.Future[None] = self._loop.create_future()
        self._task = asyncio.create_task(self._run(), name="outbox")

    async def send(self, topic: str, records: Sequence[Record]) -> list[Sent]:
        """Send them in this order, and wait until all in-sync replicas have them.

        Raises:
            TimeoutError: that did not happen in time; they may still arrive.
            MessageSizeTooLargeError: one is larger than a record may be.
            KafkaError: the broker did not take them, or this is closed.
        """
        for key, value, headers in records:
            if DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, headers) > MAX_RECORD_BYTES:
                raise MessageSizeTooLargeError
        partitions = self._partitions.get(topic) or await self._count(topic)
        if self._closed:
            raise ProducerClosed
        call = _Call(self._loop.create_future(), [None] * len(records), len(records))
        timer = self._loop.call_later(SEND_SECONDS, call.fail, TimeoutError())
        try:
            for index, record in enumerate(records):
                self._queue(call, index, record, TopicPartition(topic, (_hash(record[0]) & 0x7FFFFFFF) % partitions))
            self._schedule()
            return await call.done
        except BaseException:
            self._take_back(call)
            raise
        finally:
            timer.cancel()
            call.queued.clear()  # else each call would be a cycle, for the garbage collector to find

    async def close(self) -> None:
        """Send nothing more. What is on its way may still be acknowledged."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        for lane in self._lanes.values():
            for queued in lane.waiting:
                queued.call.fail(ProducerClosed())
            lane.waiting.clear()

    async def _count(self, topic: str) -> int:
        async with asyncio.timeout(SEND_SECONDS):
            self._partitions[topic] = count = len(await self.producer.partitions_for(topic))
        return count

    def _queue(self, call: _Call, index: int, record: Record, partition: TopicPartition) -> None:
        lane = self._lanes.get(partition)
        if lane is None:
            lane = self._lanes[partition] = _Lane()
        queued = _Queued(call, index, record, lane)
        call.queued.append(queued)
        lane.waiting[queued] = None
        self._ready += not lane.busy

    def _take_back(self, call: _Call) -> None:
        for queued in call.queued:
            if queued in queued.lane.waiting:
                del queued.lane.waiting[queued]
                self._ready -= not queued.lane.busy

    def _schedule(self) -> None:
        """See to it that what is ready is sent when it is time."""
        if not self._ready or self._woken.done():
            return
        wait = self._pace.wait(self._loop.time()) if self._ready < TARGET else 0.0
        if wait == 0:
            self._wake()
        elif self._timer is None:
            self._timer = self._loop.call_later(wait, self._wake)

    def _wake(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._woken.done():
            self._woken.set_result(None)

    async def _run(self) -> None:
        while True:
            await self._woken
            self._woken = self._loop.create_future()
            self._pace.moved(self._ready, self._loop.time())
            self._ready = 0
            # The driver puts what it is given before its next turn into one request.
            for partition, lane in list(self._lanes.items()):
                if lane.waiting and not lane.busy:
                    await self._send(partition, lane)

    async def _send(self, partition: TopicPartition, lane: _Lane) -> None:
        lane.busy = True
        taken: list[_Queued] = []
        try:
            batch = self._fill(lane, taken)
            done = await self.producer.send_batch(batch, partition.topic, partition=partition.partition)
        except Exception as error:
            if not isinstance(error, KafkaError):
                log.exception("a batch could not be made", topic=partition.topic)
            self._settle(lane, taken, error)
        else:
            done.add_done_callback(partial(self._answered, lane, taken))

    def _fill(self, lane: _Lane, taken: list[_Queued]) -> BatchBuilder:
        """A batch of what waits, as far as there is room; `taken` is what is in it."""
        batch = self.producer.create_batch()
        for queued in list(lane.waiting):
            key, value, headers = queued.record
            if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
                break  # it is full; the first record always has room
            del lane.waiting[queued]
            taken.append(queued)
        return batch

    def _answered(self, lane: _Lane, taken: list[_Queued], done: asyncio.Future[RecordMetadata]) -> None:
        if done.cancelled():
            self._settle(lane, taken, ProducerClosed())
        elif (error := done.exception()) is not None:
            self._settle(lane, taken, error)
        else:
            first = done.result().offset
            for place, queued in enumerate(taken):
                queued.call.acknowledge(queued.index, first + place if first >= 0 else -1)
            self._settle(lane)

    def _settle(self, lane: _Lane, failed: Sequence[_Queued] = (), error: BaseException | None = None) -> None:
        """The lane is free again."""
        for queued in failed:
            assert error is not None
            queued.call.fail(error)
        lane.busy = False
        if not self._closed:
            self._ready += len(lane.waiting)
            self._schedule()
