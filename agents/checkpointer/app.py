"""The checkpointer: reads `athena.audit` in a group of its own, and publishes signed checkpoints of each partition it is given.

It runs on a thread of the projector's process with an event loop of its own: whatever happens here, the projector goes on.
Two of them cannot publish for one partition: each claims the partition's producer identity first (`agents.fencing`), and reads the
last checkpoint after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Iterable
from functools import partial

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.checkpointer import metrics
from agents.checkpointer.growth import Contradiction, Growth
from agents.checkpointer.kept import Keeper
from agents.checkpointer.published import newest
from agents.fencing import FencedProducer
from agents.ports import Fenced
from ops.secrets.secret import BadSecret, Secret
from ops.settings import Settings
from schemas import topics
from schemas.base import rfc3339
from schemas.envelope import derived_id, headers
from schemas.notes import NoteError, load_private_key

log = structlog.get_logger(__name__)

SOURCE = "athena/checkpointer"
#: Records hashed at a time, about 5 ms: the projector's thread gets its turn in between.
POLL_RECORDS = 200
#: Kafka answers when this much is there, or after this time: one wake-up for many records.
FETCH_BYTES, FETCH_WAIT_MS = 1024 * 1024, 1_000
PARTITION_FETCH_BYTES = 1024 * 1024
OPEN_TIME_OUT = 60.0
STOP_TIME_OUT = 3.0
COMMIT_TIME_OUT = 5.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
#: A session that has lasted so long works, though it may have had nothing to sign.
WORKS_AFTER = 60.0


def read_key(text: str) -> Ed25519PrivateKey:
    """The key that signs. Raises BadSecret."""
    try:
        return load_private_key(text)
    except NoteError as error:
        raise BadSecret(str(error)) from None


def _seconds_since(moment: float | None) -> float:
    """0 for no moment."""
    return 0.0 if moment is None else time.monotonic() - moment


class _Shard:
    """One partition that is ours: its tree, its producer, and since when a record waits."""

    def __init__(self, growth: Growth, producer: FencedProducer) -> None:
        self.growth = growth
        self.producer = producer
        self.waits_since: float | None = None


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes what the group gives and takes; the reading loop acts on it."""

    def __init__(self) -> None:
        self.generation = 0
        self.partitions: list[int] = []

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self.generation += 1
        self.partitions = []

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self.generation += 1
        self.partitions = sorted(tp.partition for tp in assigned)


class Checkpointer:
    """`start` returns at once; `stop` waits 3 s at most."""

    def __init__(self, settings: Settings, key: Secret) -> None:
        self._settings = settings
        self._key = read_key(key.current())
        key.subscribe(self._renew)
        self._keeper = Keeper(settings.data_dir)
        self._thread = threading.Thread(target=self._main, name="checkpointer", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._shards: dict[int, _Shard] = {}
        self._failing_since: float | None = None
        metrics.FAILING.set_function(lambda: _seconds_since(self._failing_since))

    @property
    def alive(self) -> bool:
        """Whether its thread is at work."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin on a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what is not signed yet is signed after the next start."""
        loop, task = self._loop, self._task
        if loop is not None and task is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)
        self._thread.join(STOP_TIME_OUT)

    def _renew(self, text: str) -> None:
        """Called on another thread: the reading loop sees it and opens its partitions anew, under the new key."""
        self._key = read_key(text)

    def _main(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._run())

    async def _run(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                await self._session()
                continue
            except (KafkaError, Fenced, OSError, TimeoutError) as error:
                log.warning("no checkpoints for the moment; beginning anew", error=repr(error)[:300])
            except Exception:
                log.exception("the checkpointer failed; beginning anew")
            metrics.FAILURES.inc()
            self._failing_since = began if self._failing_since is None else self._failing_since
            pause = FIRST_PAUSE if time.monotonic() - began > LONGEST_PAUSE else min(pause * 2, LONGEST_PAUSE)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret

    async def _session(self) -> None:
        """Join the group, and read until something fails, or the key is another one."""
        assignment = _Assignment()
        consumer = self._settings.kafka.consumer(
            group_id=topics.CHECKPOINTER_GROUP,
            client_id=topics.CHECKPOINTER_GROUP,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=10_000,
            heartbeat_interval_ms=3_000,
            fetch_min_bytes=FETCH_BYTES,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
        )
        # Looks offsets up and reads checkpoints: the consumer's own connection is held by waiting fetches.
        reader = self._settings.kafka.consumer(enable_auto_commit=False, fetch_max_wait_ms=20)
        try:
            async with asyncio.timeout(OPEN_TIME_OUT):
                await reader.start()
                consumer.subscribe([topics.AUDIT], listener=assignment)
                await consumer.start()
            generation, key, began = -1, self._key, time.monotonic()
            while key is self._key:
                if time.monotonic() - began > WORKS_AFTER:
                    self._failing_since = None
                if generation != assignment.generation:
                    generation = assignment.generation
                    await self._open(consumer, reader, assignment.partitions)
                    continue
                found = await consumer.getmany(timeout_ms=FETCH_WAIT_MS, max_records=POLL_RECORDS)
                if generation != assignment.generation:
                    continue
                for tp, records in found.items():
                    await self._count(consumer, tp, records)
                for partition, shard in list(self._shards.items()):
                    await self._sign_when_due(consumer, partition, shard)
                await asyncio.sleep(0)
            log.info("the checkpoints' key was changed; the log is counted from its beginning before the new one signs")
        finally:
            await self._close()
            for one in (consumer, reader):
                with contextlib.suppress(KafkaError, OSError, TimeoutError):
                    async with asyncio.timeout(STOP_TIME_OUT):
                        await one.stop()

    async def _open(self, consumer: AIOKafkaConsumer, reader: AIOKafkaConsumer, partitions: list[int]) -> None:
        """Claim each partition, read where its last checkpoint left off, and go there."""
        await self._close()
        for partition in partitions:
            tp = TopicPartition(topics.AUDIT, partition)
            producer = FencedProducer(self._settings.kafka, f"{topics.CHECKPOINTER_GROUP}-{partition}")
            try:
                async with asyncio.timeout(OPEN_TIME_OUT):
                    await producer.claim([(topics.CHECKPOINTS, partition)])
                    last = await newest(reader, partition)
                    begin = (await reader.beginning_offsets([tp]))[tp]
                    end = (await reader.end_offsets([tp]))[tp]
                kept = self._keeper.read(partition)
                growth = Growth(self._settings.installation, partition, self._key, last, begin, end, kept)
            except Contradiction as found:
                await producer.stop()
                self._stop_signing(consumer, partition, found)
                continue
            except BaseException:
                await producer.stop()
                raise
            self._shards[partition] = _Shard(growth, producer)
            metrics.STOPPED.labels(partition).set(0)
            metrics.SIZE.labels(partition).set(growth.signed)
            metrics.WAITING.labels(partition).set_function(partial(self._waiting, partition))
            if not any(one == tp for one in consumer.assignment()):
                return  # given to another meanwhile; the new generation is seen next
            consumer.seek(tp, growth.begin)
            log.info("counting for checkpoints", partition=partition, signed=growth.signed, offset=growth.begin)

    async def _count(self, consumer: AIOKafkaConsumer, tp: TopicPartition, records: list[object]) -> None:
        shard = self._shards.get(tp.partition)
        if shard is None:
            return
        try:
            for record in records:
                shard.growth.feed(record.offset, record.value)  # type: ignore[attr-defined]
                if shard.growth.pending >= self._settings.checkpoint_records:
                    await self._sign(consumer, tp.partition, shard)
        except Contradiction as found:
            del self._shards[tp.partition]
            await shard.producer.stop()
            self._stop_signing(consumer, tp.partition, found)

    async def _sign_when_due(self, consumer: AIOKafkaConsumer, partition: int, shard: _Shard) -> None:
        if shard.growth.pending == 0:
            shard.waits_since = None
            return
        now = time.monotonic()
        if shard.waits_since is None:
            shard.waits_since = now
        if now - shard.waits_since >= self._settings.checkpoint_seconds:
            await self._sign(consumer, partition, shard)

    async def _sign(self, consumer: AIOKafkaConsumer, partition: int, shard: _Shard) -> None:
        """Publish a checkpoint of all that was counted, and wait until it is on record."""
        growth, now = shard.growth, time.time()
        record = growth.checkpoint(rfc3339(int(now * 1000)))
        found = headers(
            id_=derived_id(growth.origin, record.size, "checkpoint"),
            type_="athena.checkpoint",
            source=SOURCE,
            time=record.at,
            subject=growth.origin,
            correlation_id=derived_id(growth.origin, record.size, "correlation"),
        )
        value = record.model_dump_json().encode()
        await shard.producer.append(topics.CHECKPOINTS, partition, [(growth.origin.encode(), value, found)])
        growth.published()
        # After it is on record: a crash in between leaves an older note here, which the topic may well extend.
        self._keeper.keep(partition, record.note)
        shard.waits_since = None
        metrics.SIZE.labels(partition).set(record.size)
        metrics.SIGNED_AT.labels(partition).set(now)
        self._failing_since = None
        with contextlib.suppress(KafkaError, ValueError, TimeoutError):
            # For lag tools only: where to go on is in the checkpoint.
            async with asyncio.timeout(COMMIT_TIME_OUT):
                await consumer.commit(
                    {TopicPartition(topics.AUDIT, partition): OffsetAndMetadata(record.last_offset + 1, "")}
                )

    def _waiting(self, partition: int) -> float:
        """As told to Prometheus, on its thread: it grows although this one hangs."""
        shard = self._shards.get(partition)
        return _seconds_since(None if shard is None else shard.waits_since)

    def _stop_signing(self, consumer: AIOKafkaConsumer, partition: int, found: Contradiction) -> None:
        metrics.STOPPED.labels(partition).set(1)
        log.critical(
            "the audit log or its checkpoints contradict what was signed; nothing more is signed for this partition",
            why=str(found),
            topic=topics.AUDIT,
            partition=partition,
            run="athena audit verify --checkpoint FILE",
            file=str(self._keeper.path(partition)),
            see="docs/runbooks.md, The audit check fails",
        )
        tp = TopicPartition(topics.AUDIT, partition)
        if tp in consumer.assignment():
            consumer.pause(tp)

    async def _close(self) -> None:
        shards, self._shards = self._shards, {}
        for shard in shards.values():
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(STOP_TIME_OUT):
                    await shard.producer.stop()
