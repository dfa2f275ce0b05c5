"""What RocksDB holds in memory and on disk, asked when Prometheus asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import rocksdict
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

MEMORY = "athena_worker_rocksdb_memory_bytes"
FILES = "athena_worker_rocksdb_files_bytes"
KEYS = "athena_worker_rocksdb_keys"


class StorageMetrics(Collector):
    """`databases` gives (table, database) of all that is open; one that is closed meanwhile is passed over."""

    def __init__(self, cache: rocksdict.Cache, databases: Callable[[], Iterable[tuple[str, rocksdict.Rdict]]]) -> None:
        self._cache = cache
        self._databases = databases

    def collect(self) -> Iterator[GaugeMetricFamily]:
        memory = GaugeMetricFamily(MEMORY, "Memory of all local tables: block cache, write buffers", labels=["part"])
        files = GaugeMetricFamily(FILES, "Size of a local table's files", labels=["table"])
        keys = GaugeMetricFamily(KEYS, "Keys in a local table, estimated", labels=["table"])
        buffers = 0
        sizes: dict[str, int] = {}
        counts: dict[str, int] = {}
        for table, database in self._databases():
            buffers += _ask(database, "rocksdb.size-all-mem-tables")
            sizes[table] = sizes.get(table, 0) + _ask(database, "rocksdb.total-sst-files-size")
            counts[table] = counts.get(table, 0) + _ask(database, "rocksdb.estimate-num-keys")
        memory.add_metric(["cache"], self._cache.get_usage())
        memory.add_metric(["pinned"], self._cache.get_pinned_usage())
        memory.add_metric(["buffers"], buffers)
        for table, size in sizes.items():
            files.add_metric([table], size)
            keys.add_metric([table], counts[table])
        yield from (memory, files, keys)


def _ask(database: rocksdict.Rdict, name: str) -> int:
    try:
        return int(database.property_int_value(name) or 0)
    except Exception:
        return 0
