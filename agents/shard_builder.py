"""Makes the deciding part of a shard from its stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial

import structlog

from agents import metrics
from agents.host_ports import DiskStore, Key, World
from agents.ports import Shard
from agents.reference import CATALOG, ReferenceShard
from agents.requests import RequestShard
from agents.security import SESSIONS, SecurityShard
from schemas import topics

log = structlog.get_logger(__name__)

REFERENCE_TIMEOUT_S = 20.0
#: Offsets beyond the end of `athena.reference` that are remembered.
MAX_IMPOSSIBLE = 1000


#: Looking up a labelled counter costs more than counting. Kinds and results are few.
_counter = cache(metrics.COMMANDS.labels)


def _observe(kind: str, result: str) -> None:
    _counter(kind, result).inc()
    if result == "unstaffed":
        metrics.UNSTAFFED.inc()
        log.error("a level keeps its old pool, because no new one suffices: check its assignments", command=kind)


class ShardBuilder:
    """`committed` answers what the group has committed of a shard."""

    def __init__(self, world: World, committed: Callable[[Key], int]) -> None:
        self._world = world
        self._committed = committed
        self._impossible: set[int] = set()

    def build(self, key: Key, stores: Mapping[str, DiskStore], end: int) -> Shard:
        """A shard that has decided nothing yet; `end` is where its log ends now."""
        topic, partition = key
        settled = self._committed(key)
        owns = partial(self._owns, partition)
        if topic == topics.SECURITY:
            return SecurityShard(partition, stores[SESSIONS], settled, end, owns)
        if topic == topics.REFERENCE_COMMANDS:
            return ReferenceShard(stores[CATALOG], self._world.partitions, settled, end, self._world.checking())
        return RequestShard(
            partition,
            stores,
            self._world.reference.catalog,
            self._world.rules,
            settled,
            end,
            lambda offset: offset in self._impossible,
            _observe,
            owns,
        )

    def _owns(self, partition: int, id_: str) -> bool:
        where = self._world.partition_of
        return where is None or where(id_.encode()) == partition

    async def caught_up(self, offset: int) -> None:
        """Wait for reference data up to `offset`; one beyond the end of the topic is remembered as impossible.

        Raises:
            TimeoutError: it did not come.
        """
        reference = self._world.reference
        if await reference.end_offset() < offset:
            self._impossible = {*list(self._impossible)[-MAX_IMPOSSIBLE:], offset}
        elif not await reference.wait_for(offset, REFERENCE_TIMEOUT_S):
            raise TimeoutError(f"reference data up to offset {offset} did not arrive within {REFERENCE_TIMEOUT_S} s")
