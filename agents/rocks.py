"""One partition of a Faust table on RocksDB, written only after the broker has acknowledged its changelog."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rocksdict

from agents.kafka_log import FENCE_KEY


class RocksStore:
    """Goes to the database that Faust opened for the partition, so that recovery and this loop share it.

    Faust's own `table[key] = value` would queue the changelog record and write the store at once; here the order is ours.
    """

    def __init__(self, table: Any, partition: int) -> None:
        self._store = table.data
        self._partition = partition
        self._db = self._store._db_for_partition(partition)
        self._offset_key = self._store.offset_key

    def get(self, key: bytes) -> bytes | None:
        """The value, None for none."""
        value: bytes | None = self._db.get(key)
        return value

    def applied(self) -> int:
        """The changelog offset up to which the store holds the table, -1 for none. Recovery and `apply` both keep it."""
        found = self._db.get(self._offset_key)
        return -1 if found is None else int(found)

    def apply(self, writes: dict[bytes, bytes | None], changelog_offset: int) -> None:
        """Write values and the changelog offset they reach, in one atomic batch."""
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in writes.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(self._offset_key, str(changelog_offset).encode())
        self._db.write(batch)

    def put_local(self, key: bytes, value: bytes | None) -> None:
        """Mend the local index only: what is rebuilt at each assignment needs no changelog."""
        if value is None:
            self._db.delete(key)
        else:
            self._db.put(key, value)

    def scan(self, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Our own keys from `start` on, ascending."""
        for key, value in self._db.items(from_key=start or None):
            if key not in (self._offset_key, FENCE_KEY):
                yield key, value

    def path(self) -> Path:
        """Where the partition's files are."""
        return Path(str(self._store.partition_path(self._partition)))

    def wipe(self) -> None:
        """Remove the files: a fenced owner's store is not to be trusted. The process ends right after."""
        shutil.rmtree(self.path(), ignore_errors=True)
