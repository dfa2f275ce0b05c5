"""One partition of a Faust table on RocksDB: opened with bounded memory, written only after the broker has acknowledged.

Memory of all tables together, whatever they hold and however many partitions there are: `CACHE_BYTES` for blocks, indexes and
filters, and `WRITE_BUFFERS` for what is not in a file yet. Faust's defaults would be 2 GiB of cache for each partition and table.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import rocksdict
import structlog
from faust.stores.rocksdb import Store

from agents.kafka_log import FENCE_KEY
from agents.reference import CATALOG
from agents.requests import CHAINS, REQUESTS, WINDOWS
from agents.security import SESSIONS

log = structlog.get_logger(__name__)

MIB = 1 << 20
#: One cache for all tables and partitions of the process, bytes: data blocks, and the indexes and filters of all files.
CACHE_BYTES = 64 * MIB
#: Memory for writes that are in no file yet, bytes, over all partitions of a table: each partition has `BUFFERS` equal parts.
WRITE_BUFFERS: Mapping[str, int] = {
    REQUESTS: 128 * MIB,
    WINDOWS: 16 * MIB,
    CHAINS: 8 * MIB,
    SESSIONS: 8 * MIB,
    CATALOG: 4 * MIB,
}
BUFFERS = 2
#: 16 kB blocks hold several records, which share most of their text; the filter's 10 bits a key pass 1 % of absent keys.
BLOCK_BYTES = 16 * 1024
FILTER_BITS = 10
#: Files of a new level that wait to be merged: as a rule, and while a changelog is read (merging would take the CPU from it).
MERGE_AT, MERGE_AT_WHILE_LOADING = 4, 32
#: Far above both: a write that waits for merging stops the whole process, for rocksdict keeps Python's lock.
SLOW_DOWN_AT, STOP_AT = 128, 256
OPEN_FILES = 128
BACKGROUND_JOBS = 2


def options(table: str, partitions: int, cache: rocksdict.Cache) -> rocksdict.Options:
    """How a partition of the table is kept; `partitions` share the table's memory."""
    buffer = WRITE_BUFFERS[table] // (BUFFERS * partitions)
    blocks = rocksdict.BlockBasedOptions()
    blocks.set_block_cache(cache)
    blocks.set_cache_index_and_filter_blocks(True)
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
    blocks.set_block_size(BLOCK_BYTES)
    blocks.set_bloom_filter(FILTER_BITS, False)
    blocks.set_format_version(5)
    made = rocksdict.Options(raw_mode=True)
    made.create_if_missing(True)
    made.set_block_based_table_factory(blocks)
    made.set_write_buffer_size(max(buffer, 128 * 1024))
    made.set_max_write_buffer_number(BUFFERS)
    made.set_max_total_wal_size(max(buffer, 128 * 1024) * BUFFERS)
    made.set_target_file_size_base(32 * MIB)
    made.set_max_bytes_for_level_base(128 * MIB)
    made.set_compression_type(rocksdict.DBCompressionType.lz4())
    made.set_level_zero_file_num_compaction_trigger(MERGE_AT)
    made.set_level_zero_slowdown_writes_trigger(SLOW_DOWN_AT)
    made.set_level_zero_stop_writes_trigger(STOP_AT)
    made.set_max_background_jobs(BACKGROUND_JOBS)
    made.set_max_open_files(OPEN_FILES)
    made.set_skip_stats_update_on_db_open(True)
    made.set_stats_dump_period_sec(0)
    made.set_keep_log_file_num(2)
    made.set_max_log_file_size(MIB)
    return made


class BoundedStore(Store):  # type: ignore[misc]
    """Faust's store with these options, and with databases that are closed when they are given up.

    Faust leaves closing to the garbage collector, so that a partition that comes back may find its own lock.
    """

    def __init__(self, *args: Any, cache: rocksdict.Cache, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cache = cache

    def _open_for_partition(self, partition: int) -> rocksdict.Rdict:
        path = self.partition_path(partition)
        made = options(self.table.name, self.table.partitions, self._cache)
        try:
            return rocksdict.Rdict(str(path), options=made)
        except Exception as error:
            if not is_damaged(error):
                raise
            log.error("a local table is damaged: it is wiped and read again", path=str(path), error=str(error))
            shutil.rmtree(path)
            return rocksdict.Rdict(str(path), options=made)

    def empty(self, partition: int) -> None:
        """Remove all that the partition holds, and open it again."""
        self._close(partition)
        shutil.rmtree(self.partition_path(partition), ignore_errors=True)
        self._db_for_partition(partition)

    def revoke_partitions(self, table: Any, tps: set[Any]) -> None:
        for tp in tps:
            if tp.topic in table.changelog_topic.topics:
                self._close(tp.partition)
        super().revoke_partitions(table, tps)

    async def stop(self) -> None:
        for partition in list(self._dbs):
            self._close(partition)
        await super().stop()

    def _close(self, partition: int) -> None:
        database = self._dbs.pop(partition, None)
        if database is not None:
            database.close()


def is_damaged(error: Exception) -> bool:
    """Whether RocksDB refused to open its files for what is in them, and not because another process has them."""
    return any(word in str(error) for word in ("Corruption", "corrupt", "No such file", "not exist"))


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
        self._db.write(_batch(writes.items(), self._offset_key, changelog_offset))

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


class LocalCopy:
    """One partition of a table while its changelog is read into it.

    Between `begin_bulk` and `settle` records go past RocksDB's own log: they are only in memory, and a crash loses them together
    with the offset that they reach, for both are in one batch. So what the store says that it has is never ahead of what it has.
    """

    def __init__(self, table: Any, partition: int) -> None:
        self._store: BoundedStore = table.data
        self._partition = partition
        self._how = rocksdict.WriteOptions()
        self._bulk = False

    def applied(self) -> int | None:
        """Offset of the last changelog record that is in the store; None for an empty store."""
        found = self._database().get(self._store.offset_key)
        return None if found is None else int(found)

    def begin_bulk(self) -> None:
        """Make ready for many writes."""
        self._bulk = True
        self._how.disable_wal = True
        self._database().set_options({"level0_file_num_compaction_trigger": str(MERGE_AT_WHILE_LOADING)})

    def load(self, rows: Iterable[tuple[bytes, bytes | None]], reached: int) -> None:
        """Write rows, in order, and the offset they reach. Not more than about 1 MB at once: Python waits."""
        self._database().write(_batch(rows, self._store.offset_key, reached), self._how)

    def settle(self) -> None:
        """Put everything into files. Must come before anything else is written."""
        if self._bulk:
            self._database().flush()
            self._database().set_options({"level0_file_num_compaction_trigger": str(MERGE_AT)})
            self._bulk = False
            self._how.disable_wal = False

    def empty(self) -> None:
        """Remove everything."""
        self._store.empty(self._partition)

    def _database(self) -> rocksdict.Rdict:
        return self._store._db_for_partition(self._partition)


def _batch(rows: Iterable[tuple[bytes, bytes | None]], offset_key: bytes, offset: int) -> rocksdict.WriteBatch:
    batch = rocksdict.WriteBatch(raw_mode=True)
    for key, value in rows:
        if value is None:
            batch.delete(key)
        else:
            batch.put(key, value)
    batch.put(offset_key, str(offset).encode())
    return batch
