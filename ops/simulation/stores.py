"""One partition of a table on a disk in memory. It outlives its process, may be an older copy, or be gone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ops.simulation.broker import Row

FENCE = b"\x00fence"


class MemoryStore:
    """See `agents.ports.Store`. `offset` is the last changelog offset that it holds, -1 for none."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}
        self.offset = -1
        self._older: tuple[dict[bytes, bytes], int] = ({}, -1)

    def get(self, key: bytes) -> bytes | None:
        return self.data.get(key)

    def apply(self, writes: dict[bytes, bytes | None], changelog_offset: int) -> None:
        for key, value in writes.items():
            self.put_local(key, value)
        self.offset = changelog_offset

    def put_local(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self.data.pop(key, None)
        else:
            self.data[key] = value

    def scan(self, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        # A snapshot, as RocksDB's iterator is.
        for key in sorted(key for key in self.data if key >= start and key != FENCE):
            yield key, self.data[key]

    def recover(self, changelog: Sequence[Row]) -> None:
        """Replay the changelog from where the store ends."""
        for row in changelog[self.offset + 1 :]:
            assert row.key is not None
            self.put_local(row.key, row.value)
            self.offset = row.offset

    def remember(self) -> None:
        """Keep a copy as the one that a power cut would leave."""
        self._older = (dict(self.data), self.offset)

    def fall_back(self) -> None:
        """Be the older copy."""
        data, self.offset = self._older
        self.data = dict(data)

    def wipe(self) -> None:
        self.data, self.offset = {}, -1
        self.remember()
