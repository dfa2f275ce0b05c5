"""Where the audit stream and its checkpoints are read from: the broker, or a copy of them in a folder.

Everything is read in batches, partition by partition, in the order of offsets, up to the end that it had when it was asked for.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections import deque
from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ops.kafka_clients import Kafka
from ops.log_reader import partitions_of
from ops.stack.errors import StackError
from schemas import topics
from schemas.envelope import header

BATCH = 1_000
REACH_TIME_OUT = 30.0
#: Fetched at a time around a single record.
PICK_BYTES = 64 * 1024
#: Seconds without a record although the end is not reached.
STALL_LIMIT = 30.0


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record as it lies in the log. `type` is its CloudEvents type."""

    offset: int
    key: bytes | None
    value: bytes | None
    type: str | None


class Source(Protocol):
    """What is verified. `end` is fixed when it is first asked for, and is the limit of `read`."""

    async def partitions(self) -> list[int]:
        """The audit topic's partitions."""

    async def end(self, topic: str, partition: int) -> int:
        """The offset after the last record."""

    def read(self, topic: str, partition: int, since: int = 0) -> AsyncGenerator[list[LogRecord], None]:
        """The records from an offset on."""

    async def pick(self, topic: str, partition: int, offsets: Collection[int]) -> dict[int, LogRecord]:
        """The records at these offsets; one where there is none is left out."""

    async def close(self) -> None:
        """Let go of connections."""


class KafkaSource:
    """Reads the broker. Raises StackError when it cannot be reached, refuses, or stands still for 30 s."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._asking: AIOKafkaConsumer | None = None
        self._ends: dict[tuple[str, int], int] = {}

    async def partitions(self) -> list[int]:
        try:
            async with asyncio.timeout(REACH_TIME_OUT):
                found = await partitions_of(await self._ask(), topics.AUDIT)
        except (KafkaError, OSError, TimeoutError) as error:
            raise self._unreachable(error) from error
        if not found:
            raise StackError(f"Kafka at {self._kafka} has no topic {topics.AUDIT}, or does not show it to us")
        return found

    async def end(self, topic: str, partition: int) -> int:
        if (topic, partition) not in self._ends:
            tp = TopicPartition(topic, partition)
            try:
                async with asyncio.timeout(REACH_TIME_OUT):
                    self._ends[topic, partition] = (await (await self._ask()).end_offsets([tp]))[tp]
            except (KafkaError, OSError, TimeoutError) as error:
                raise self._unreachable(error) from error
        return self._ends[topic, partition]

    async def read(self, topic: str, partition: int, since: int = 0) -> AsyncGenerator[list[LogRecord], None]:
        tp, end = TopicPartition(topic, partition), await self.end(topic, partition)
        consumer = self._consumer()
        try:
            async with asyncio.timeout(REACH_TIME_OUT):
                await consumer.start()
            consumer.assign([tp])
            consumer.seek(tp, max(since, (await consumer.beginning_offsets([tp]))[tp]))
            moved = time.monotonic()
            while await consumer.position(tp) < end:
                before = await consumer.position(tp)
                found = (await consumer.getmany(tp, timeout_ms=500, max_records=BATCH)).get(tp, [])
                if await consumer.position(tp) > before:
                    moved = time.monotonic()
                elif time.monotonic() - moved > STALL_LIMIT:
                    raise StackError(f"Kafka at {self._kafka} gave nothing of {topic} for {STALL_LIMIT:.0f} s")
                records = [_of_kafka(one) for one in found if one.offset < end]
                if records:
                    yield records
        except (KafkaError, OSError, TimeoutError) as error:
            raise self._unreachable(error) from error
        finally:
            await consumer.stop()

    async def pick(self, topic: str, partition: int, offsets: Collection[int]) -> dict[int, LogRecord]:
        tp, end = TopicPartition(topic, partition), await self.end(topic, partition)
        picked: dict[int, LogRecord] = {}
        wanted = deque(sorted(offset for offset in offsets if 0 <= offset < end))
        if not wanted:
            return picked  # and aiokafka's consumer cannot be stopped at once after `assign`: it cancels its caller
        consumer = self._consumer(max_partition_fetch_bytes=PICK_BYTES)
        try:
            async with asyncio.timeout(REACH_TIME_OUT):
                await consumer.start()
            consumer.assign([tp])
            while wanted:
                consumer.seek(tp, wanted[0])
                found: list[Any] = []
                async with asyncio.timeout(STALL_LIMIT):
                    while not found and await consumer.position(tp) < end:
                        found = (await consumer.getmany(tp, timeout_ms=500)).get(tp, [])
                ahead = {record.offset: record for record in found}
                while wanted and (not found or wanted[0] <= found[-1].offset):
                    offset = wanted.popleft()
                    if offset in ahead:
                        picked[offset] = _of_kafka(ahead[offset])
        except (KafkaError, OSError, TimeoutError) as error:
            raise self._unreachable(error) from error
        finally:
            await consumer.stop()
        return picked

    async def close(self) -> None:
        consumer, self._asking = self._asking, None
        if consumer is not None:
            await consumer.stop()

    def _consumer(self, **options: int) -> AIOKafkaConsumer:
        return self._kafka.consumer(
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
            **options,
        )

    async def _ask(self) -> AIOKafkaConsumer:
        if self._asking is None:
            self._asking = self._consumer()
            await self._asking.start()
        return self._asking

    def _unreachable(self, error: BaseException) -> StackError:
        return StackError(f"Kafka at {self._kafka} did not answer: {error!r}. Is the stack up? See: athena status")


def _of_kafka(record: Any) -> LogRecord:
    return LogRecord(record.offset, record.key, record.value, header(record.headers, "ce_type"))


class FolderSource:
    """Reads a copy that `athena audit export` made: a file for each partition, a line of JSON for each record.

    Raises StackError when the folder is no such copy.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def partitions(self) -> list[int]:
        found = [name.stem.removeprefix(f"{topics.AUDIT}-") for name in self._folder.glob(f"{topics.AUDIT}-*.jsonl")]
        if not found or not all(number.isdecimal() for number in found):
            raise StackError(f"{self._folder} holds no copy of {topics.AUDIT}. Make one: athena audit export DIR")
        return sorted(map(int, found))

    async def end(self, topic: str, partition: int) -> int:
        last = -1
        async for records in self.read(topic, partition):
            last = records[-1].offset
        return last + 1

    async def read(self, topic: str, partition: int, since: int = 0) -> AsyncGenerator[list[LogRecord], None]:
        path = file_of(self._folder, topic, partition)
        if not path.exists():
            return
        with path.open("rb") as lines:
            batch: list[LogRecord] = []
            for number, line in enumerate(lines, start=1):
                try:
                    record = _of_line(orjson.loads(line))
                except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
                    raise StackError(f"{path} line {number} is no line of a copy: {error!r}") from error
                if record.offset >= since:
                    batch.append(record)
                if len(batch) >= BATCH:
                    yield batch
                    batch = []
            if batch:
                yield batch

    async def pick(self, topic: str, partition: int, offsets: Collection[int]) -> dict[int, LogRecord]:
        wanted = frozenset(offsets)
        found = {}
        async for records in self.read(topic, partition):
            found.update({record.offset: record for record in records if record.offset in wanted})
        return found

    async def close(self) -> None:
        """Nothing is held open."""


def file_of(folder: Path, topic: str, partition: int) -> Path:
    """The file of one partition in a copy."""
    return folder / f"{topic}-{partition}.jsonl"


def line_of(record: LogRecord) -> bytes:
    """A record as a line of a copy: bytes that are UTF-8 as text, others in base64."""
    return orjson.dumps(
        {"offset": record.offset, "type": record.type, **_text("key", record.key), **_text("value", record.value)}
    )


def _text(name: str, data: bytes | None) -> dict[str, str | None]:
    try:
        return {name: None if data is None else data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data or b"").decode()}


def _of_line(line: dict[str, Any]) -> LogRecord:
    return LogRecord(int(line["offset"]), _bytes("key", line), _bytes("value", line), line["type"])


def _bytes(name: str, line: dict[str, Any]) -> bytes | None:
    if f"{name}_base64" in line:
        return base64.b64decode(line[f"{name}_base64"], validate=True)
    text: str | None = line[name]
    return None if text is None else text.encode()


async def fix_ends(source: Source, topic: str, partitions: Sequence[int]) -> None:
    """Settle where reading will end, now."""
    for partition in partitions:
        await source.end(topic, partition)
