"""One producer identity per shard: whoever claims it last is the only one that can write.

Claiming starts a transactional producer, which makes the broker raise the identity's epoch, and aborts an empty transaction
over every partition that the shard writes to. The abort marker carries the new epoch into each of those partitions, so that
from then on the broker refuses an older owner's batches there (`ProducerFenced`), also where this owner has written nothing
yet. Control records are invisible to readers. The batches themselves are ordinary idempotent ones with that id and epoch.

This module alone touches private parts of aiokafka 0.14 (`_txn_manager`); the version is pinned, and
`tests/integration/test_fencing.py` holds the behaviour against a real broker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    UnknownProducerId,
)

from agents.ports import Fenced
from ops.kafka_clients import Kafka
from schemas.envelope import Headers

#: Largest record batch that is sent, in bytes; the topics allow `max.message.bytes` of 4 MiB.
MAX_BATCH_BYTES = 900_000
MAX_REQUEST_BYTES = 4 * 1024 * 1024
CLAIM_TIMEOUT_S = 30.0
SEND_TIMEOUT_S = 30.0

Rows = Sequence[tuple[bytes | None, bytes | None, Headers]]


class FencedProducer:
    """Sends record batches under one identity. Not shared between shards."""

    def __init__(self, kafka: Kafka, identity: str) -> None:
        self._kafka = kafka
        self._identity = identity
        self._producer: AIOKafkaProducer | None = None

    async def claim(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Become the identity's owner on these (topic, partition) pairs; every earlier owner is shut out of them.

        Raises:
            TimeoutError: the broker did not do it within `CLAIM_TIMEOUT_S`.
        """
        async with asyncio.timeout(CLAIM_TIMEOUT_S):
            producer_id, epoch = await self._raise_epoch(list(partitions))
            producer = self._kafka.producer(
                client_id=self._identity,
                enable_idempotence=True,
                acks="all",
                max_batch_size=MAX_BATCH_BYTES,
                max_request_size=MAX_REQUEST_BYTES,
                request_timeout_ms=int(SEND_TIMEOUT_S * 1000),
            )
            producer._txn_manager.set_pid_and_epoch(producer_id, epoch)
            await _started(producer)
        self._producer = producer

    async def _raise_epoch(self, partitions: list[tuple[str, int]]) -> tuple[int, int]:
        claimer = await self._claimer()
        try:
            for topic in {topic for topic, _ in partitions}:
                await claimer.client.add_topic(topic)
            await claimer.begin_transaction()
            for topic, partition in partitions:
                claimer._txn_manager.maybe_add_partition_to_txn(TopicPartition(topic, partition))
            await claimer.abort_transaction()
        finally:
            await claimer.stop()
        # The broker answers the abort before the markers are written. It gives the identity out again only after they are.
        settled = await self._claimer()
        try:
            return settled._txn_manager.producer_id, settled._txn_manager.producer_epoch
        finally:
            await settled.stop()

    async def _claimer(self) -> AIOKafkaProducer:
        producer = self._kafka.producer(
            client_id=f"{self._identity}-claim",
            transactional_id=self._identity,
            retry_backoff_ms=20,
        )
        return await _started(producer)

    async def append(self, topic: str, partition: int, rows: Rows) -> int:
        """Append rows in order and wait for all in-sync replicas; the offset of the last one.

        Raises:
            Fenced: a newer owner has claimed the identity.
            aiokafka.errors.KafkaError: it could not be written, or nobody knows whether it was.
        """
        sent = await self.send(topic, partition, rows)
        return await self.acknowledged(sent)

    async def send(self, topic: str, partition: int, rows: Rows) -> list[tuple[asyncio.Future[object], int]]:
        """Queue rows as record batches; give the result to `acknowledged`."""
        producer = self._producer
        assert producer is not None, "claim() comes first"
        sent = []
        builder, count = producer.create_batch(), 0
        for key, value, headers in rows:
            if builder.append(timestamp=None, key=key, value=value, headers=headers) is None:
                sent.append((await producer.send_batch(builder, topic, partition=partition), count))
                builder, count = producer.create_batch(), 0
                if builder.append(timestamp=None, key=key, value=value, headers=headers) is None:
                    raise ValueError(f"a record of {len(value or b'')} bytes does not fit into a batch for {topic}")
            count += 1
        if count:
            sent.append((await producer.send_batch(builder, topic, partition=partition), count))
        return sent

    async def acknowledged(self, sent: list[tuple[asyncio.Future[object], int]]) -> int:
        """Wait for queued batches; the offset of the last record. Raises as `append`."""
        last = -1
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                for future, count in sent:
                    metadata = await future
                    last = int(metadata.offset) + count - 1  # type: ignore[attr-defined]
        except (ProducerFenced, InvalidProducerEpoch) as error:
            raise Fenced(f"{self._identity} has a newer owner") from error
        except (OutOfOrderSequenceNumber, UnknownProducerId) as error:
            raise Fenced(f"{self._identity} lost its place in the log") from error
        return last

    async def stop(self) -> None:
        """Close the connection; safe to call twice."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()


async def _started(producer: AIOKafkaProducer) -> AIOKafkaProducer:
    """Whatever goes wrong, its connection does not stay open: a claim that ends in a rebalance is made again."""
    try:
        await producer.start()
    except BaseException:
        await producer.stop()
        raise
    return producer
