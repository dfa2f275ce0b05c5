"""The gateway's one producer: idempotent, acks=all, made anew after an error that it cannot survive."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, KafkaError, MessageSizeTooLargeError
from aiokafka.structs import RecordMetadata

from gateway import metrics
from gateway.http.problems import Problem, unavailable
from ops.kafka_clients import Kafka
from schemas.envelope import Headers

log = structlog.get_logger(__name__)

#: How long a send may take until it is acknowledged.
SEND_SECONDS = 5.0
#: Sends that wait for their acknowledgement; more are answered 503 at once. While no broker answers, each waits 5 s: this
#: bounds what they hold. The driver itself keeps two batches of 16 KiB a partition.
MAX_UNDERWAY = 2000
#: A rules file of 1 MiB fits, whatever its JSON escapes; its topics take as much.
MAX_REQUEST_BYTES = 4 * 1024 * 1024
_STOP_SECONDS = 2.0
_PAUSE_SECONDS = 0.5


class Producer:
    """Sends records. A send that was not acknowledged in time may still arrive: a command's id tells a repeat."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._producer: AIOKafkaProducer | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._underway = 0

    @property
    def ready(self) -> bool:
        """Whether there is a producer; a renewed one may still be connecting."""
        return self._producer is not None

    async def start(self) -> None:
        """Connect. Raises KafkaError when no broker answers."""
        self._producer = await self._connect()

    async def stop(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)

    async def send(self, topic: str, key: bytes, value: bytes, headers: Headers) -> RecordMetadata:
        """Send one record and wait until all in-sync replicas have it.

        Raises:
            Problem: 503 when that did not happen within 5 s; 413 for a record that Kafka would not take.
        """
        return (await self.send_all(topic, [(key, value, headers)]))[0]

    async def send_all(self, topic: str, records: Sequence[tuple[bytes, bytes, Headers]]) -> list[RecordMetadata]:
        """As `send` for several (key, value, headers): they stand in the log in this order. When it raises, some may be there."""
        producer = self._producer
        if producer is None or self._underway + len(records) > MAX_UNDERWAY:
            raise _unreachable()
        self._underway += len(records)
        try:
            async with asyncio.timeout(SEND_SECONDS):
                sent = [await producer.send(topic, value, key=key, headers=headers) for key, value, headers in records]
                return list(await asyncio.gather(*sent))
        except TimeoutError as error:
            raise _unreachable() from error
        except MessageSizeTooLargeError:
            raise Problem(413, "too-large", "The content is larger than one record can be.") from None
        except (KafkaError, IllegalOperation) as error:
            if not getattr(error, "retriable", False):
                self._renew(producer, error)
            raise _unreachable() from error
        finally:
            self._underway -= len(records)

    async def _connect(self) -> AIOKafkaProducer:
        producer = self._kafka.producer(
            enable_idempotence=True,
            acks="all",
            request_timeout_ms=5000,
            linger_ms=0,
            max_request_size=MAX_REQUEST_BYTES,
        )
        try:
            await producer.start()
        except BaseException:
            await _stop(producer)
            raise
        return producer

    def _renew(self, failed: AIOKafkaProducer, error: BaseException) -> None:
        if self._producer is not failed:
            return
        log.error("the Kafka producer failed for good; a new one is made", error=f"{type(error).__name__}: {error}")
        metrics.PRODUCER_RENEWALS.inc()
        self._producer = None
        self._renewal = asyncio.create_task(self._replace(failed), name="producer renewal")

    async def _replace(self, failed: AIOKafkaProducer) -> None:
        await _stop(failed)
        while self._producer is None:
            try:
                self._producer = await self._connect()
            except Exception as error:  # whatever it is: without a producer this gateway takes no command
                log.warning("no Kafka broker answers", error=f"{type(error).__name__}: {error}"[:300])
                await asyncio.sleep(_PAUSE_SECONDS)


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await producer.stop()
    except Exception:
        # It waits for batches that no broker takes. Let go of them, or its task and its sockets stay for ever.
        for part in ("_sender", "client"):
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_STOP_SECONDS):
                    await getattr(producer, part).close()


def _unreachable() -> Problem:
    return unavailable("The message log did not take the command in time. Repeat it with the same Idempotency-Key.")
