"""Follows `athena.reference` into a `Catalog`: read to the end at start, then live. No consumer group."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ops.kafka_clients import Kafka
from schemas import topics
from schemas.catalog import Catalog
from schemas.reference import Entity

log = structlog.get_logger(__name__)

TP = TopicPartition(topics.REFERENCE, 0)


class ReferenceFollower:
    """Keeps one `Catalog` current. `failed` is set when it can no longer follow: the process should end."""

    def __init__(
        self, kafka: Kafka, catalog: Catalog | None = None, on_change: Callable[[Entity | None], None] | None = None
    ) -> None:
        self.catalog = catalog or Catalog()
        self.failed: BaseException | None = None
        self.end = 0  # of the topic, as last heard from the broker
        self._kafka = kafka
        self.on_change = on_change
        self._advanced = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self, timeout: float = 60.0) -> None:
        """Read all there is, then follow in the background.

        Raises:
            TimeoutError: the end was not reached within `timeout` seconds.
        """
        consumer = self._kafka.consumer(
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=500,
        )
        await consumer.start()
        self._consumer = consumer
        consumer.assign([TP])
        await consumer.seek_to_beginning(TP)
        async with asyncio.timeout(timeout):
            end = (await consumer.end_offsets([TP]))[TP]
            while await consumer.position(TP) < end:
                await self._poll(consumer)
            self.catalog.offset = max(self.catalog.offset, end)
            self.end = max(self.end, end)
        self._task = asyncio.create_task(self._follow(consumer), name="reference-follower")

    async def stop(self) -> None:
        """End following; safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None

    async def wait_for(self, offset: int, timeout: float) -> bool:
        """Wait until all before `offset` is applied; False when that took longer than `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout), self._advanced:
                await self._advanced.wait_for(lambda: self.catalog.offset >= offset)
        except TimeoutError:
            return False
        return True

    async def wait_until(self, met: Callable[[Catalog], bool], timeout: float) -> bool:
        """Wait until the catalog is as `met` wants it; False when that took longer than `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout), self._advanced:
                await self._advanced.wait_for(lambda: met(self.catalog))
        except TimeoutError:
            return False
        return True

    async def catch_up(self, timeout: float) -> bool:
        """Apply all that is in the topic now; False when that took longer than `timeout` seconds, or no broker answers."""
        try:
            async with asyncio.timeout(timeout):
                return await self.wait_for(await self.end_offset(), timeout)
        except (KafkaError, OSError, TimeoutError):
            return False

    async def end_offset(self) -> int:
        """The topic's end as the broker has it now; `end` remembers it."""
        assert self._consumer is not None
        self.end = max(self.end, int((await self._consumer.end_offsets([TP]))[TP]))
        return self.end

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        try:
            while True:
                await self._poll(consumer)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.failed = error
            log.exception("reference data can no longer be followed; the process must end", topic=topics.REFERENCE)

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        batches = await consumer.getmany(TP, timeout_ms=500, max_records=1000)
        position = await consumer.position(TP)
        changed = False
        for record in batches.get(TP, ()):
            # A fence marker of the writer is no entity.
            if record.key is not None and not record.key.startswith(b"\x00"):
                entity = self.catalog.apply(record.key, record.value)
                if self.on_change is not None:
                    self.on_change(entity)
            changed = True
        if changed or position > self.catalog.offset:
            async with self._advanced:
                self.catalog.offset = max(self.catalog.offset, position)
                self._advanced.notify_all()
