"""Brings local tables up to the end of their changelogs: after the claim, before anything is decided.

Faust would deliver each record as an event (0.09 ms of CPU each, and errors only logged). Here whole fetches go into RocksDB as
large batches, each together with the offset it reaches, so that an interrupted restore goes on where it was. It runs in a
thread with an event loop of its own: the worker's loop and the consumer's heartbeats go on meanwhile.

Memory: one answer of at most `FETCH_BYTES` that is read while the next one is fetched, and RocksDB's write buffers.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.kafka_log import FENCE_KEY
from agents.metrics import RESTORE_LEFT, RESTORED
from ops.kafka_clients import Kafka

log = structlog.get_logger(__name__)

#: Bytes of one answer of a broker at most, and of one partition in it. A record that is larger comes alone.
FETCH_BYTES = 16 << 20
PARTITION_FETCH_BYTES = 4 << 20
POLL_MS = 200
#: Written into RocksDB at once: it keeps Python's lock for some ms meanwhile.
CHUNK_RECORDS = 500
CHUNK_BYTES = 1 << 20
#: So many offsets go through RocksDB's own log: that is quicker than to put them into a file at once.
FEW = 1000
ANSWER_TIMEOUT_S = 30.0
#: Without a record for this long the restore has failed.
STALL_LIMIT_S = 60.0
SAY_EVERY_S = 5.0


class Copy(Protocol):
    """One partition of a table on local disk, see `agents.rocks.LocalCopy`."""

    def applied(self) -> int | None: ...

    def begin_bulk(self) -> None: ...

    def load(self, rows: Iterable[tuple[bytes, bytes | None]], reached: int) -> None: ...

    def settle(self) -> None: ...

    def empty(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Changelog:
    """One partition of a changelog, and the copy that follows it."""

    topic: str
    partition: int
    copy: Copy


@dataclass(slots=True)
class _Part:
    """A copy that is behind: offsets before `position` are in it, `end` is where the log ended when we asked."""

    copy: Copy
    start: int
    position: int
    end: int


class Restore:
    """One restore of some changelogs. Must be awaited to its end, stopped or not, before the copies are used otherwise.

    `progressed` is told, in the restore's thread, of so many further records.
    """

    def __init__(
        self, kafka: Kafka, changelogs: Sequence[Changelog], progressed: Callable[[int], None] = lambda records: None
    ) -> None:
        self._kafka = kafka
        self._progressed = progressed
        self._copies = {TopicPartition(one.topic, one.partition): one.copy for one in changelogs}
        self._stopped = threading.Event()
        self.records = 0
        self.bytes = 0

    async def run(self) -> bool:
        """True once every copy has all that its changelog held when this began; False when stopped before.

        Raises:
            TimeoutError: the broker did not answer, or no record came for `STALL_LIMIT_S`.
            aiokafka.errors.KafkaError: a changelog cannot be read.
            Exception: RocksDB could not write. What was written until then stays, with its offset.
        """
        return await asyncio.to_thread(asyncio.run, self._run())

    def stop(self) -> None:
        """Make `run` return soon; what is written by then stays."""
        self._stopped.set()

    async def _run(self) -> bool:
        if not self._copies:
            return True
        consumer = self._kafka.consumer(
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
            fetch_max_wait_ms=POLL_MS,
            request_timeout_ms=int(ANSWER_TIMEOUT_S * 1000),
        )
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await consumer.start()
        try:
            parts = await self._behind(consumer)
            return not parts or await self._catch_up(consumer, parts)
        finally:
            RESTORE_LEFT.set(0)
            await consumer.stop()

    async def _behind(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, _Part]:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            ends = await consumer.end_offsets(list(self._copies))
            begins = await consumer.beginning_offsets(list(self._copies))
        parts = {}
        for tp, copy in self._copies.items():
            start = _start(tp, copy, begins[tp], ends[tp])
            if start < ends[tp]:
                parts[tp] = _Part(copy, start, start, ends[tp])
        return parts

    async def _catch_up(self, consumer: AIOKafkaConsumer, parts: dict[TopicPartition, _Part]) -> bool:
        consumer.assign(list(parts))
        progress = _Progress(self, list(parts.values()))
        for tp, part in parts.items():
            consumer.seek(tp, part.start)
            if part.end - part.start > FEW:
                part.copy.begin_bulk()
        open_ = dict(parts)
        try:
            while open_ and not self._stopped.is_set():
                found = await consumer.getmany(timeout_ms=POLL_MS)
                for tp, records in found.items():
                    self._load(open_[tp], records)
                await self._finish(consumer, open_)
                progress.step()
        finally:
            # Also when this fails or is stopped: the next write goes through RocksDB's log, and must not come before these.
            for part in open_.values():
                part.copy.settle()
        progress.end(done=not open_)
        return not open_

    def _load(self, part: _Part, records: Sequence[Any]) -> None:
        rows: list[tuple[bytes, bytes | None]] = []
        size = 0
        for record in records:
            if record.key != FENCE_KEY:
                rows.append((record.key, record.value))
                size += len(record.value or b"")
            if len(rows) >= CHUNK_RECORDS or size >= CHUNK_BYTES:
                part.copy.load(rows, record.offset)
                self.bytes += size
                rows, size = [], 0
                if self._stopped.is_set():
                    return
        part.copy.load(rows, records[-1].offset)
        self.bytes += size
        self.records += len(records)
        self._progressed(len(records))

    async def _finish(self, consumer: AIOKafkaConsumer, open_: dict[TopicPartition, _Part]) -> None:
        """Note how far each copy is, past control records too; settle those that are at their end."""
        if self._stopped.is_set():
            return
        for tp, part in list(open_.items()):
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                part.position = await consumer.position(tp)
            if part.position >= part.end:
                part.copy.load([], part.position - 1)
                part.copy.settle()
                consumer.pause(tp)
                del open_[tp]


def _start(tp: TopicPartition, copy: Copy, begin: int, end: int) -> int:
    """Where reading begins. A copy that cannot be of this changelog is emptied, loudly."""
    applied = copy.applied()
    if applied is None:
        return begin
    if begin <= applied + 1 <= end:
        return applied + 1
    log.error(
        "a local table does not fit its changelog (made anew, or cut?): it is wiped and read again from the beginning",
        changelog=f"{tp.topic}/{tp.partition}",
        applied=applied,
        begin=begin,
        end=end,
    )
    copy.empty()
    return begin


class _Progress:
    """Tells log and metrics how far a restore is, and fails it when it stands still."""

    def __init__(self, restore: Restore, parts: list[_Part]) -> None:
        self._restore = restore
        self._parts = parts
        self._all = sum(part.end - part.start for part in parts)
        self._began = self._said = self._moved = time.monotonic()
        self._done = self._counted = 0
        log.info("tables are restored from their changelogs", partitions=len(parts), offsets=self._all)

    def step(self) -> None:
        now = time.monotonic()
        done = sum(min(part.position, part.end) - part.start for part in self._parts)
        RESTORE_LEFT.set(self._all - done)
        RESTORED.inc(self._restore.records - self._counted)
        self._counted = self._restore.records
        if done > self._done:
            self._done, self._moved = done, now
        elif now - self._moved > STALL_LIMIT_S:
            raise TimeoutError(
                f"changelogs: {self._all - done} offsets are missing, and none came for {STALL_LIMIT_S} s"
            )
        if now - self._said >= SAY_EVERY_S and done:
            self._said = now
            left = (now - self._began) * (self._all - done) / done
            self._say("restoring tables", percent=round(100 * done / self._all, 1), seconds_left=round(left))

    def end(self, done: bool) -> None:
        self._say("tables restored" if done else "restore stopped; it goes on from here later")

    def _say(self, text: str, **more: float) -> None:
        restore = self._restore
        seconds = round(time.monotonic() - self._began, 1)
        log.info(text, records=restore.records, megabytes=round(restore.bytes / 1e6, 1), seconds=seconds, **more)
