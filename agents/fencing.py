"""One producer identity per shard: whoever claims it last is the only one that can write.

Claiming starts a transactional producer, which makes the broker raise the identity's epoch, and aborts an empty transaction
over every partition that the shard writes to. The abort marker carries the new epoch into each of those partitions, so that
from then on the broker refuses an older owner's batches there (`ProducerFenced`), also where this owner has written nothing
yet. Control records are invisible to readers. The batches themselves are ordinary idempotent ones with that id and epoch.

Id, epoch and sequence stand in the record batch, not in the request that carries it. So the identities of one worker share a
`Line`: what its shards have to send at the same time goes in one request, over one connection (ADR 25).

This module alone touches private parts of aiokafka 0.14 (`_txn_manager`, `BatchBuilder`); the version is pinned, and
`tests/integration/test_fencing.py` holds the behaviour against a real broker.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    UnknownProducerId,
)
from aiokafka.producer.message_accumulator import BatchBuilder

from agents.ports import Fenced
from ops.kafka_clients import Kafka
from schemas.envelope import Headers

#: Largest record batch that is sent, in bytes; the topics allow `max.message.bytes` of 4 MiB.
MAX_BATCH_BYTES = 900_000
MAX_REQUEST_BYTES = 4 * 1024 * 1024
CLAIM_TIMEOUT_S = 30.0
SEND_TIMEOUT_S = 30.0
#: Bytes of a line's batches that are not acknowledged, as a rule: one request may hold all of them, and brokers take 100 MiB.
MAX_UNDERWAY_BYTES = 48 * 1024 * 1024

#: A sequence number is 31 bits long, and begins again at 0.
_SEQUENCES = 2**31

Rows = Sequence[tuple[bytes | None, bytes | None, Headers]]


class Line:
    """One connection to the brokers, for any number of identities. No two of them may write to one partition of a topic.

    A produce request holds one batch of each partition at most, and the next one goes when it is answered. `MAX_UNDERWAY_BYTES`
    bounds what waits: more waits in `send`.
    """

    def __init__(self, kafka: Kafka, client_id: str) -> None:
        self._kafka = kafka
        self._client_id = client_id
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._underway = 0
        self._room: deque[asyncio.Future[None]] = deque()

    async def start(self) -> None:
        """Connect, unless that is done."""
        async with self._starting:
            if self._producer is None:
                producer = self._kafka.producer(
                    client_id=self._client_id,
                    enable_idempotence=True,
                    acks="all",
                    max_batch_size=MAX_BATCH_BYTES,
                    max_request_size=MAX_REQUEST_BYTES,
                    request_timeout_ms=int(SEND_TIMEOUT_S * 1000),
                )
                self._producer = await _started(producer)

    async def stop(self) -> None:
        """Close the connection; safe to call twice."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def send(self, batch: BatchBuilder, topic: str, partition: int) -> asyncio.Future[object]:
        """Queue a batch; the future ends when it is in the log, or is not. Raises TimeoutError when there was no room for it."""
        assert self._producer is not None, "start() comes first"
        size = batch.size()
        while self._underway and self._underway + size > MAX_UNDERWAY_BYTES:
            waiting = asyncio.get_running_loop().create_future()
            self._room.append(waiting)
            await asyncio.wait_for(waiting, SEND_TIMEOUT_S)
        self._underway += size
        try:
            sent: asyncio.Future[object] = await self._producer.send_batch(batch, topic, partition=partition)
        except BaseException:
            self._leave(size)
            raise
        sent.add_done_callback(lambda _: self._leave(size))
        return sent

    def _leave(self, size: int) -> None:
        self._underway -= size
        waiting, self._room = self._room, deque()
        for one in waiting:
            if not one.done():
                one.set_result(None)


@dataclass(frozen=True, slots=True)
class _Claimed:
    """What one claim gave: producer id, epoch, and the next sequence number of each (topic, partition)."""

    producer_id: int
    epoch: int
    sequences: dict[tuple[str, int], int] = field(default_factory=dict)

    def take(self, place: tuple[str, int], records: int) -> int:
        """The sequence number of the first of so many records, which are sent now."""
        first = self.sequences.get(place, 0)
        self.sequences[place] = (first + records) % _SEQUENCES
        return first


class _Batch(BatchBuilder):  # type: ignore[misc]
    """Carries what its claim gave, whatever producer sends it, and also after the next claim: the broker refuses it then."""

    def __init__(self, claimed: _Claimed, place: tuple[str, int]) -> None:
        super().__init__(MAX_BATCH_BYTES, 0)
        self._claimed = claimed
        self._place = place

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        del producer_id, producer_epoch, base_sequence  # those of the line
        mine = self._claimed
        super()._set_producer_state(mine.producer_id, mine.epoch, mine.take(self._place, self.record_count()))


class FencedProducer:
    """Sends record batches under one identity. Not shared between shards. Without a `line` it has one of its own."""

    def __init__(self, kafka: Kafka, identity: str, line: Line | None = None) -> None:
        self._kafka = kafka
        self._identity = identity
        self._line = line or Line(kafka, identity)
        self._owns_line = line is None
        self._claimed: _Claimed | None = None

    async def claim(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Become the identity's owner on these (topic, partition) pairs; every earlier owner is shut out of them.

        Raises:
            TimeoutError: the broker did not do it within `CLAIM_TIMEOUT_S`.
        """
        async with asyncio.timeout(CLAIM_TIMEOUT_S):
            self._claimed = _Claimed(*await self._raise_epoch(list(partitions)))
            await self._line.start()

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
        claimed, place, sent = self._claimed, (topic, partition), []
        assert claimed is not None, "claim() comes first"
        builder, count = _Batch(claimed, place), 0
        for key, value, headers in rows:
            if builder.append(timestamp=None, key=key, value=value, headers=headers) is None:
                sent.append((await self._line.send(builder, topic, partition), count))
                builder, count = _Batch(claimed, place), 0
                if builder.append(timestamp=None, key=key, value=value, headers=headers) is None:
                    raise ValueError(f"a record of {len(value or b'')} bytes does not fit into a batch for {topic}")
            count += 1
        if count:
            sent.append((await self._line.send(builder, topic, partition), count))
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
        """Let go of the identity, and of a line of its own; safe to call twice."""
        self._claimed = None
        if self._owns_line:
            await self._line.stop()


async def _started(producer: AIOKafkaProducer) -> AIOKafkaProducer:
    """Whatever goes wrong, its connection does not stay open: a claim that ends in a rebalance is made again."""
    try:
        await producer.start()
    except BaseException:
        await producer.stop()
        raise
    return producer
