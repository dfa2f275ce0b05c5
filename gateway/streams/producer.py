"""The gateway's one producer: idempotent, acks=all, made anew after an error that it cannot survive."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, KafkaError, MessageSizeTooLargeError

from gateway import metrics
from gateway.http.problems import Problem, unavailable
from gateway.streams.outbox import MAX_BATCH_BYTES, MAX_RECORD_BYTES, Outbox, Record, Sent
from ops.kafka_clients import Kafka
from schemas.envelope import Headers

log = structlog.get_logger(__name__)

#: Records that wait for their acknowledgement; more are answered 503 at once. While no broker answers, each waits 5 s: this
#: bounds what they hold. The driver itself keeps two batches of 900 kB a partition.
MAX_UNDERWAY = 2000
_STOP_SECONDS = 2.0
_PAUSE_SECONDS = 0.5


class Producer:
    """Sends records. A send that was not acknowledged in time may still arrive: a command's id tells a repeat."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._outbox: Outbox | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._underway = 0

    @property
    def ready(self) -> bool:
        """Whether there is a producer; a renewed one may still be connecting."""
        return self._outbox is not None

    async def start(self) -> None:
        """Connect. Raises KafkaError when no broker answers."""
        self._outbox = Outbox(await self._connect())

    async def stop(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
        outbox, self._outbox = self._outbox, None
        if outbox is not None:
            await _stop(outbox)

    async def send(self, topic: str, key: bytes, value: bytes, headers: Headers) -> Sent:
        """Send one record and wait until all in-sync replicas have it.

        Raises:
            Problem: 503 when that did not happen within 5 s; 413 for a record that Kafka would not take.
        """
        return (await self.send_all(topic, [(key, value, headers)]))[0]

    async def send_all(self, topic: str, records: Sequence[Record]) -> list[Sent]:
        """As `send` for several: they stand in the log in this order. When it raises, some may be there."""
        outbox = self._outbox
        if outbox is None or self._underway + len(records) > MAX_UNDERWAY:
            raise _unreachable()
        self._underway += len(records)
        try:
            return await outbox.send(topic, records)
        except TimeoutError as error:
            raise _unreachable() from error
        except MessageSizeTooLargeError:
            raise Problem(413, "too-large", "The content is larger than one record can be.") from None
        except (KafkaError, IllegalOperation) as error:
            if not getattr(error, "retriable", False):
                self._renew(outbox, error)
            raise _unreachable() from error
        finally:
            self._underway -= len(records)

    async def _connect(self) -> AIOKafkaProducer:
        producer = self._kafka.producer(
            enable_idempotence=True,
            acks="all",
            request_timeout_ms=5000,
            linger_ms=0,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=MAX_RECORD_BYTES,
        )
        try:
            await producer.start()
        except BaseException:
            await _close(producer)
            raise
        return producer

    def _renew(self, failed: Outbox, error: BaseException) -> None:
        if self._outbox is not failed:
            return
        log.error("the Kafka producer failed for good; a new one is made", error=f"{type(error).__name__}: {error}")
        metrics.PRODUCER_RENEWALS.inc()
        self._outbox = None
        self._renewal = asyncio.create_task(self._replace(failed), name="producer renewal")

    async def _replace(self, failed: Outbox) -> None:
        await _stop(failed)
        while self._outbox is None:
            try:
                self._outbox = Outbox(await self._connect())
            except Exception as error:  # whatever it is: without a producer this gateway takes no command
                log.warning("no Kafka broker answers", error=f"{type(error).__name__}: {error}"[:300])
                await asyncio.sleep(_PAUSE_SECONDS)


async def _stop(outbox: Outbox) -> None:
    await outbox.close()
    await _close(outbox.producer)


async def _close(producer: AIOKafkaProducer) -> None:
    if not await _ended(producer.stop()):
        # It waits for batches that no broker takes. Let go of them, or its task and its sockets stay for ever.
        for part in ("_sender", "client"):
            await _ended(getattr(producer, part).close())


async def _ended(closing: Coroutine[Any, Any, None]) -> bool:
    """Whether it ended well and in time. Not awaited itself: what it cancelled of its own would cancel us."""
    task = asyncio.create_task(closing)
    try:
        done, _ = await asyncio.wait({task}, timeout=_STOP_SECONDS)
    finally:
        task.cancel()
    return bool(done) and not task.cancelled() and task.exception() is None


def _unreachable() -> Problem:
    return unavailable("The message log did not take the command in time. Repeat it with the same Idempotency-Key.")
