"""Reading dead letters, choosing among them, and sending their records again."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from ops.kafka_clients import Kafka
from ops.log_reader import read_all
from ops.stack.errors import StackError
from schemas import topics
from schemas.outcomes import DeadLetter

SEND_TIME_OUT = 30.0
#: The largest record that any source topic takes.
LARGEST = 4 * 1024 * 1024
PROGRESS_SECONDS = 5.0
#: Where workers read. A letter that names another topic was not written by one, and is not sent there.
SOURCES = frozenset({topics.COMMANDS, topics.REFERENCE_COMMANDS, topics.SECURITY})
#: A value of exactly this many bytes was cut by the first version, which did not say so.
_CUT_BEFORE = 512 * 1024
_PLACE = re.compile(r"(?P<topic>[a-z.-]+)(?:\[(?P<p>\d+)\]@(?P<o>\d+)|[/:](?P<p2>\d+)[/:](?P<o2>\d+))")


class Unsendable(Exception):
    """A record that cannot be sent again; the text says why."""


@dataclass
class Selection:
    """Which letters. A place is an id or `topic[partition]@offset`; times are ms since 1970 of the source record's append."""

    places: tuple[str, ...] = ()
    topic: str | None = None
    since: int | None = None
    until: int | None = None
    error: str | None = None
    found: set[str] = field(default_factory=set, compare=False)

    def takes(self, letter: DeadLetter) -> bool:
        """Whether the letter is meant."""
        if self.places:
            names = self._names(letter) & set(map(_normal, self.places))
            self.found |= names
            if not names:
                return False
        return (
            (self.topic is None or letter.topic == self.topic)
            and (self.since is None or letter.timestamp >= self.since)
            and (self.until is None or letter.timestamp < self.until)
            and (self.error is None or self.error.lower() in letter.error.lower())
        )

    def missing(self) -> list[str]:
        """The places that no letter was found for."""
        return [place for place in self.places if _normal(place) not in self.found]

    @staticmethod
    def _names(letter: DeadLetter) -> set[str]:
        return {letter.id, f"{letter.topic}[{letter.partition}]@{letter.offset}"}


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it was at its source."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]

    @property
    def digest(self) -> bytes:
        """The same for records that are the same byte for byte."""
        hash_ = hashlib.sha256()
        for part in self._parts():
            hash_.update(b"-" if part is None else b"%d:" % len(part) + part)
        return hash_.digest()

    def _parts(self) -> Iterator[bytes | None]:
        yield f"{self.topic}/{self.partition}".encode()
        yield self.key
        yield self.value
        for name, value in self.headers:
            yield name.encode()
            yield value


async def letters(kafka: Kafka, selection: Selection) -> AsyncIterator[DeadLetter]:
    """The selected letters that the topic holds now, each id once; progress goes to stderr.

    Raises:
        StackError: the broker cannot be reached.
    """
    seen: set[bytes] = set()
    read, said = 0, time.monotonic()
    async for record in read_all(kafka, topics.DEAD_LETTERS):
        read += 1
        if time.monotonic() - said > PROGRESS_SECONDS:
            said = time.monotonic()
            print(f"read {read} dead letters", file=sys.stderr, flush=True)  # noqa: T201 - progress of a command
        try:
            letter = DeadLetter.model_validate_json(record.value or b"")
        except ValidationError:
            # A fence marker, or none of ours.
            continue
        if not letter.cut and letter.value is not None and len(raw(letter.value) or b"") == _CUT_BEFORE:
            letter = letter.model_copy(update={"cut": True})
        id_ = hashlib.sha256(letter.id.encode()).digest()[:16]
        if id_ not in seen and selection.takes(letter):
            seen.add(id_)
            yield letter


class Resender:
    """Sends records to where they came from. Use it as a context; it connects when it must."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Resender:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._producer is not None:
            await self._producer.stop()

    async def record(self, letter: DeadLetter) -> Record:
        """The record that the letter is about; read from its source where the letter holds only a part.

        Raises:
            Unsendable: the source no longer has it, or it is no topic that workers read.
            StackError: Kafka cannot be reached.
        """
        if letter.topic not in SOURCES:
            raise Unsendable(f"{letter.topic} is no topic that workers read; nothing is sent there.")
        if letter.cut:
            return await self._from_source(letter)
        headers = [(name, base64.b64decode(text)) for name, text in letter.headers]
        return Record(letter.topic, letter.partition, raw(letter.key), raw(letter.value), headers)

    async def send(self, record: Record) -> tuple[int, int]:
        """Append it to its source topic and partition; (partition, offset).

        Raises:
            StackError: the broker did not acknowledge it within 30 s.
        """
        try:
            async with asyncio.timeout(SEND_TIME_OUT):
                if self._producer is None:
                    producer = self._kafka.producer(enable_idempotence=True, acks="all", max_request_size=LARGEST)
                    self._producer = producer
                    await producer.start()
                done = await self._producer.send_and_wait(
                    record.topic, record.value, key=record.key, headers=record.headers, partition=record.partition
                )
        except (KafkaError, OSError, TimeoutError) as error:
            raise StackError(f"Kafka at {self._kafka} did not take the record: {error!r}") from error
        return done.partition, done.offset

    async def _from_source(self, letter: DeadLetter) -> Record:
        source = TopicPartition(letter.topic, letter.partition)
        consumer = self._kafka.consumer(enable_auto_commit=False, max_partition_fetch_bytes=LARGEST)
        try:
            async with asyncio.timeout(SEND_TIME_OUT):
                await consumer.start()
                consumer.assign([source])
                begins, ends = await consumer.beginning_offsets([source]), await consumer.end_offsets([source])
                found: Any = None
                if begins[source] <= letter.offset < ends[source]:
                    consumer.seek(source, letter.offset)
                    found = await consumer.getone(source)
        except (KafkaError, OSError, TimeoutError) as error:
            raise StackError(f"Kafka at {self._kafka} did not answer: {error!r}. See: athena status") from error
        finally:
            await consumer.stop()
        if found is None or found.offset != letter.offset:
            raise Unsendable(
                f"The record was too large for its letter, and {letter.topic}[{letter.partition}]@{letter.offset} "
                "is gone. It cannot be sent again."
            )
        return Record(letter.topic, letter.partition, found.key, found.value, list(found.headers))


def raw(text: str | None) -> bytes | None:
    """The bytes of a letter's field."""
    return None if text is None else base64.b64decode(text)


def _normal(place: str) -> str:
    found = _PLACE.fullmatch(place)
    if found is None:
        return place.lower()
    return f"{found['topic']}[{found['p'] or found['p2']}]@{found['o'] or found['o2']}"
