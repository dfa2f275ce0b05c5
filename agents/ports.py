"""What the worker's loop needs of the world. The Faust worker and the simulator each bring their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

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


class Output(NamedTuple):
    """One record to be sent; `partition` None: the shard's own."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None = None


class Encodable(Protocol):
    """What becomes a table row's bytes when its batch is written, however often the batch has changed it."""

    def encode(self) -> bytes: ...


Value = bytes | Encodable | None


@dataclass(slots=True)
class Effects:
    """What a batch does: at most one write per table and key, in the order of the last ones, and outputs in order. A value of
    None deletes."""

    writes: dict[str, dict[bytes, Value]] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)

    def write(self, table: str, key: bytes, value: Value) -> None:
        rows = self.writes.setdefault(table, {})
        # A record that says that others were written comes after them, also when an earlier command of the batch wrote it too.
        rows.pop(key, None)
        rows[key] = value

    def written(self, table: str, key: bytes) -> Any:
        """What this batch has written under a key so far, None for nothing."""
        return self.writes.get(table, {}).get(key)

    def rows(self, table: str) -> dict[bytes, bytes | None]:
        """The table's writes as bytes."""
        return {
            key: value if value is None or isinstance(value, bytes) else value.encode()
            for key, value in self.writes.get(table, {}).items()
        }


class Store(Protocol):
    """One partition of a table on local disk."""

    def get(self, key: bytes) -> bytes | None: ...

    def apply(self, writes: dict[bytes, bytes | None], changelog_offset: int) -> None:
        """Take over acknowledged writes together with how far in the changelog they reach."""
        ...

    def scan(self, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Keys from `start` on, ascending."""
        ...


class LocalStore(Store, Protocol):
    """One whose rows may be mended without a changelog, since they follow from other rows."""

    def put_local(self, key: bytes, value: bytes | None) -> None: ...


class Log(Protocol):
    """One shard's writer identity. Raises `Fenced` when a newer owner has claimed the shard."""

    async def write_tables(self, writes: Mapping[str, Mapping[bytes, bytes | None]]) -> Mapping[str, int]:
        """Append each table's rows to its changelog, the tables in any order, and wait for the broker: by table, the offset of the
        last record."""
        ...

    async def write_outputs(self, outputs: Sequence[Output]) -> None:
        """Append the outputs and wait for the broker."""
        ...


class Shard(Protocol):
    """The deciding part of one partition: in memory, no waiting."""

    def handle(self, record: Incoming, effects: Effects) -> None:
        """Decide one record. Raises `NotYet`, `Busy` or `BatchFull`, with nothing changed, for one that must wait."""
        ...

    def decided(self, record: Incoming, effects: Effects) -> bool:
        """Whether `handle` would find that this record was decided before, in this batch's `effects` or earlier."""
        ...

    def settled(self, offset: int) -> None:
        """The outputs of all records before `offset` are in the log: they need not be repeated."""
        ...


class NotYet(Exception):
    """The record needs reference data up to `offset` of `athena.reference`, which this process has yet to read."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"needs athena.reference up to offset {offset}")
        self.offset = offset


class Busy(Exception):
    """The record needs `work` to be done first, which takes too long for the loop; hand it in again after that."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        super().__init__("needs work that is done elsewhere")
        self.work = work


class BatchFull(Exception):
    """Write what the batch has so far, then hand this record in again. Never raised when there is nothing to write."""


class Fenced(Exception):
    """A newer owner has this partition; this process must end and its store must go."""
