"""Follows `athena.outcomes` from its end, and hands each outcome to the POSTs that wait for it.

Under load the next fetch waits a little, so that one brings the outcomes of many commands.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from gateway import metrics
from gateway.streams.pace import Pace
from ops.kafka_clients import Kafka
from schemas import topics
from schemas.envelope import header
from schemas.outcomes import ANSWERS

log = structlog.get_logger(__name__)

Outcome = dict[str, Any]

#: POSTs that wait at a time. Half of the calls that may be in progress: reads find room although no worker decides.
MAX_WAITING = 2000
_STOP_SECONDS = 1.0
_PAUSE_SECONDS = 0.5
#: Outcomes of one command that a POST keeps unread; the newest count.
MAX_HEARD = 64


@dataclass(frozen=True, slots=True)
class Heard:
    """An outcome, and the offset of the record that it answers; None from a worker of the first release, which does not say."""

    outcome: Outcome
    answers: int | None


class Waiter:
    """The outcomes of one command since `expect`: several, when it was sent more than once. None: this gateway is stopping."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        #: Asked for once for all waiters: Python 3.11 asks the kernel who we are each time.
        self.loop = loop or asyncio.get_running_loop()
        self._heard: deque[Heard | None] = deque(maxlen=MAX_HEARD)
        self._woken: asyncio.Future[None] | None = None

    def hear(self, heard: Heard | None) -> None:
        """Hand one over."""
        self._heard.append(heard)
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def next(self) -> Heard | None:
        """The next one, in the order of the log."""
        while not self._heard:
            self._woken = self.loop.create_future()
            await self._woken
        return self._heard.popleft()


class Outcomes:
    """One consumer without a group, on all partitions; whatever nobody here waits for is dropped unread."""

    def __init__(self, kafka: Kafka, partitions: int, consumer: Callable[..., Any] | None = None) -> None:
        self._make_consumer = consumer or kafka.consumer
        self._assignment = [TopicPartition(topics.OUTCOMES, number) for number in range(partitions)]
        self._positions: dict[TopicPartition, int] = {}
        self._waiting: dict[bytes, list[Waiter]] = {}
        self._consumer: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._expected = 0
        self._pace = Pace()
        metrics.WAITERS.set_function(lambda: self._expected)

    @property
    def ready(self) -> bool:
        """Whether outcomes written from now on will be seen."""
        return self._consumer is not None and self._task is not None and not self._task.done()

    @property
    def full(self) -> bool:
        """Whether as many wait as may: answer 202 at once."""
        return self._expected >= MAX_WAITING

    def expect(self, command_id: str) -> Waiter:
        """Hears of that command from now on. `forget` it in the end."""
        waiter = Waiter(self._loop)
        self._loop = waiter.loop
        if self._closing:
            waiter.hear(None)
        self._waiting.setdefault(command_id.encode(), []).append(waiter)
        self._expected += 1
        return waiter

    def forget(self, command_id: str, waiter: Waiter) -> None:
        """Nobody waits for this any more."""
        key = command_id.encode()
        left = self._waiting.get(key)
        if left is not None and waiter in left:
            left.remove(waiter)
            self._expected -= 1
            if not left:
                del self._waiting[key]

    def release(self) -> None:
        """Let everybody go who waits, now and later: the gateway is stopping."""
        self._closing = True
        for waiters in self._waiting.values():
            for waiter in waiters:
                waiter.hear(None)

    async def start(self) -> None:
        """Stand at the end of every partition, then follow. Raises KafkaError when no broker answers."""
        self._consumer = await self._connect()
        self._task = asyncio.create_task(self._follow(), name="outcomes")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._disconnect()

    async def _connect(self) -> Any:
        consumer = self._make_consumer(
            enable_auto_commit=False,
            auto_offset_reset="latest",
            fetch_max_wait_ms=500,
        )
        try:
            await consumer.start()
            consumer.assign(self._assignment)
            if self._positions:
                for partition, offset in self._positions.items():
                    consumer.seek(partition, offset)
            else:
                ends = await consumer.end_offsets(self._assignment)
                for partition, offset in ends.items():
                    consumer.seek(partition, offset)
                self._positions = dict(ends)
        except BaseException:
            with contextlib.suppress(Exception):
                await consumer.stop()
            raise
        return consumer

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_STOP_SECONDS):
                    await consumer.stop()

    async def _follow(self) -> None:
        while True:
            try:
                if self._consumer is None:
                    self._consumer = await self._connect()
                found = await self._consumer.getmany(timeout_ms=1000)
                for partition, records in found.items():
                    self._resolve(records)
                    self._positions[partition] = records[-1].offset + 1
                await self._rest(sum(map(len, found.values())))
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("outcomes cannot be read; connecting again", error=f"{type(error).__name__}: {error}"[:300])
                await self._disconnect()
                await asyncio.sleep(_PAUSE_SECONDS)
            except Exception:
                # A follower that ended would leave every POST waiting until its time is up, for as long as this process lives.
                log.exception("outcomes cannot be read; connecting again")
                await self._disconnect()
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _rest(self, records: int) -> None:
        """Wait under load after a poll that brought so many records; nothing is fetched meanwhile."""
        loop = asyncio.get_running_loop()
        self._pace.moved(records, loop.time())
        wait = self._pace.wait(loop.time())
        if wait > 0:
            self._consumer.pause(*self._assignment)
            await asyncio.sleep(wait)
            self._consumer.resume(*self._assignment)

    def _resolve(self, records: Iterable[Any]) -> None:
        waiting = self._waiting
        for record in records:
            for name, value in record.headers:
                if name == "ce_subject":
                    if value in waiting:
                        self._deliver(value, record)
                    break

    def _deliver(self, command_id: bytes, record: Any) -> None:
        try:
            outcome = orjson.loads(record.value or b"")
            if outcome["command_id"].encode() != command_id:
                raise ValueError("its header names another command")
            answers = header(record.headers, ANSWERS)
            heard = Heard(outcome, None if answers is None else int(answers))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.error(
                "an outcome cannot be read", command_id=command_id.decode("ascii", "replace"), error=str(error)[:300]
            )
            return
        for waiter in self._waiting.get(command_id, ()):
            waiter.hear(heard)
