"""The log in memory: topics, append times, producer epochs per partition, committed offsets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from agents.ports import Fenced
from ops.simulation.failure import holds
from schemas.envelope import Headers

START_MS = 1_800_000_000_000
TopicPartition = tuple[str, int]


@dataclass(slots=True)
class Clock:
    """`now` is the true time in ms; the broker stamps records with `now + skew`."""

    now: int = START_MS
    skew: int = 0

    @property
    def append_time(self) -> int:
        return self.now + self.skew


@dataclass(frozen=True, slots=True)
class Row:
    """One record of the log."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Writer:
    """A producer identity at one epoch."""

    identity: str
    epoch: int


class Offsets(dict[TopicPartition, int]):
    """Committed offsets: they never go backwards."""

    def __setitem__(self, place: TopicPartition, offset: int) -> None:
        holds(offset >= self.get(place, 0), "a committed offset went backwards", place, self.get(place), offset)
        super().__setitem__(place, offset)


@dataclass(slots=True)
class Broker:
    """`latest` holds per partition the newest value of each key: what compaction would leave."""

    clock: Clock
    logs: defaultdict[TopicPartition, list[Row]] = field(default_factory=lambda: defaultdict(list))
    latest: defaultdict[TopicPartition, dict[bytes, bytes | None]] = field(default_factory=lambda: defaultdict(dict))
    committed: Offsets = field(default_factory=Offsets)
    watchers: list[Callable[[str, int, Row], None]] = field(default_factory=list)
    _epochs: dict[str, int] = field(default_factory=dict)
    _fences: dict[tuple[str, str, int], int] = field(default_factory=dict)

    def new_epoch(self, identity: str) -> Writer:
        """As InitProducerId: a higher epoch. Older writers are refused by a partition once the new one has written there."""
        epoch = self._epochs[identity] = self._epochs.get(identity, 0) + 1
        return Writer(identity, epoch)

    def admit(self, writer: Writer, topic: str, partition: int) -> None:
        """Raise `Fenced` for a writer older than the newest that this partition has seen."""
        place = (writer.identity, topic, partition)
        if self._fences.get(place, 0) > writer.epoch:
            raise Fenced(f"{writer.identity} epoch {writer.epoch} on {topic}/{partition}")
        self._fences[place] = writer.epoch

    def append(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        writer: Writer | None = None,
    ) -> int:
        """Write one record; its offset."""
        if writer is not None:
            self.admit(writer, topic, partition)
        log = self.logs[topic, partition]
        row = Row(len(log), self.clock.append_time, key, value, headers)
        log.append(row)
        if key is not None and topic.endswith("-changelog"):
            self.latest[topic, partition][key] = value
        for watcher in self.watchers:
            watcher(topic, partition, row)
        return row.offset

    def rows(self, topic: str, partition: int) -> list[Row]:
        return self.logs[topic, partition]

    def end(self, topic: str, partition: int) -> int:
        return len(self.logs[topic, partition])
