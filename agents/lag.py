"""How far the shards are, and how far behind: for the metrics, the watchdog, and what the shards may forget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agents import metrics
from agents.host_ports import Cluster, Key
from agents.topology import TABLES
from agents.watchdog import Place


class Lag:
    """Remembers what the group had committed when it was last asked."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._committed: dict[Key, int] = {}

    def committed(self, key: Key) -> int:
        """Offset of the first record that is not committed; 0 when there is none."""
        return self._committed.get(key, 0)

    async def refresh(self) -> None:
        """Ask the group coordinator."""
        self._committed.update(await self._cluster.committed())

    async def places(self, keys: Iterable[Key]) -> Mapping[Key, Place]:
        """Where each shard stands now; sets the gauges."""
        await self.refresh()
        wanted = sorted(keys)
        bounds = await self._cluster.bounds(wanted) if wanted else {}
        found = {}
        by_topic = dict.fromkeys(TABLES, 0)
        metrics.PARTITION_LAG.clear()
        for key, (first, end) in bounds.items():
            # What retention has removed can no longer be decided.
            done = max(first, self.committed(key))
            found[key] = Place(done, max(0, end - done))
            by_topic[key[0]] += found[key].lag
            metrics.PARTITION_LAG.labels(*key).set(found[key].lag)
        for topic, lag in by_topic.items():
            metrics.LAG.labels(topic).set(lag)
        return found
