"""What the worker's loop needs of the world. The Faust worker and the simulator each bring their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from schemas.envelope import Headers


@dataclass(frozen=True, slots=True)
class Incoming:
    """One record of a commands topic; `timestamp` is its append time in ms."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Output:
    """One record to be sent; `partition` None: the shard's own."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None = None


@dataclass(slots=True)
class Effects:
    """What a batch does: at most one write per table and key, and outputs in order."""

    writes: dict[str, dict[bytes, bytes | None]] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)

    def write(self, table: str, key: bytes, value: bytes | None) -> None:
        self.writes.setdefault(table, {})[key] = value


class Store(Protocol):
    """One partition of a table on local disk."""

    def get(self, key: bytes) -> bytes | None: ...

    def apply(self, writes: dict[bytes, bytes | None], changelog_offset: int) -> None:
        """Take over acknowledged writes together with how far in the changelog they reach."""
        ...

    def scan(self, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Keys from `start` on, ascending."""
        ...


class Log(Protocol):
    """One shard's writer identity. Raises `Fenced` when a newer owner has claimed the shard."""

    async def write_table(self, table: str, writes: dict[bytes, bytes | None]) -> int:
        """Append to the table's changelog and wait for the broker; the offset of the last record."""
        ...

    async def write_outputs(self, outputs: Sequence[Output]) -> None:
        """Append the outputs and wait for the broker."""
        ...


class Shard(Protocol):
    """The deciding part of one partition: in memory, no waiting."""

    def handle(self, record: Incoming, effects: Effects) -> None:
        """Decide one record. Raises `NotYet`, with nothing changed, for one that must wait."""
        ...


class NotYet(Exception):
    """The record needs reference data up to `offset` of `athena.reference`, which this process has yet to read."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"needs athena.reference up to offset {offset}")
        self.offset = offset


class Fenced(Exception):
    """A newer owner has this partition; this process must end and its store must go."""
