"""Reads how far the workers are behind on `athena.commands`, once a second, for the backpressure."""

from __future__ import annotations

import asyncio
import contextlib

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from gateway.backpressure import Backpressure
from ops.kafka_clients import Kafka
from schemas import topics

log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
#: For one reading, and for connecting.
READ_SECONDS = 5.0
_LONGEST_PAUSE = 10.0
_STOP_SECONDS = 1.0


class WorkerLag:
    """Three small requests a second. While Kafka does not answer there is no reading, and the last one goes stale."""

    def __init__(self, kafka: Kafka, partitions: int, backpressure: Backpressure) -> None:
        self._kafka = kafka
        self._partitions = [TopicPartition(topics.COMMANDS, number) for number in range(partitions)]
        self._backpressure = backpressure
        self._consumer: AIOKafkaConsumer | None = None
        self._admin: AIOKafkaAdminClient | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to read. Does not wait for a reading: without one submissions are accepted."""
        self._task = asyncio.create_task(self._follow(), name="worker lag")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._disconnect()

    async def _follow(self) -> None:
        pause = POLL_SECONDS
        while True:
            try:
                async with asyncio.timeout(READ_SECONDS):
                    if self._consumer is None:
                        await self._connect()
                    await self._read()
                pause = POLL_SECONDS
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("the workers' lag cannot be read", error=f"{type(error).__name__}: {error}"[:300])
                await self._disconnect()
                pause = min(pause * 2, _LONGEST_PAUSE)
            except Exception:
                # A bug here must cost the gate, not the gateway.
                log.exception("the workers' lag cannot be read")
                await self._disconnect()
                pause = _LONGEST_PAUSE
            await asyncio.sleep(pause)

    async def _connect(self) -> None:
        milliseconds = int(READ_SECONDS * 1000)
        # Held before they start, so that one which fails half-way is closed too.
        self._consumer = self._kafka.consumer(enable_auto_commit=False, request_timeout_ms=milliseconds)
        self._admin = self._kafka.admin(request_timeout_ms=milliseconds)
        await self._consumer.start()
        await self._admin.start()

    async def _read(self) -> None:
        assert self._consumer is not None
        assert self._admin is not None
        found = await self._admin.list_consumer_group_offsets(topics.WORKER_GROUP, partitions=self._partitions)
        # The ends come second: a lag is never below what it was at one moment.
        ends = await self._consumer.end_offsets(self._partitions)
        done = {tp: max(0, found[tp].offset) if tp in found else 0 for tp in self._partitions}
        behind = [tp for tp in self._partitions if ends[tp] > done[tp]]
        # What retention has removed can no longer be decided.
        begins = await self._consumer.beginning_offsets(behind) if behind else {}
        lag = sum(ends[tp] - max(begins[tp], done[tp]) for tp in behind)
        self._backpressure.observe(lag, sum(done.values()))

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        admin, self._admin = self._admin, None
        for client in (consumer and consumer.stop, admin and admin.close):
            if client is not None:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(_STOP_SECONDS):
                        await client()
