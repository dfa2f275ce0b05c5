"""The shards that one assignment gave us, from the moment that every earlier owner is shut out of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from agents.host_ports import Cluster, DiskStore, Key, ShardLog
from agents.ports import Fenced

Stores = Mapping[Key, Mapping[str, DiskStore]]


@dataclass(frozen=True, eq=False)
class Claim:
    """`markers`: by shard and table, where the changelog ended when earlier owners were shut out."""

    logs: Mapping[Key, ShardLog]
    markers: Mapping[Key, Mapping[str, int]]

    @classmethod
    async def of(cls, cluster: Cluster, keys: Iterable[Key], fenced: Callable[[Key, Fenced], None]) -> Self:
        """Claim the shards, all at once. Whatever goes wrong, no log stays open; `fenced` is told of a newer owner."""
        logs = {key: cluster.shard_log(key) for key in keys}
        markers: dict[Key, Mapping[str, int]] = {}

        async def one(key: Key) -> None:
            try:
                markers[key] = await logs[key].claim()
            except Fenced as error:
                fenced(key, error)
                raise

        claims = [asyncio.ensure_future(one(key)) for key in logs]
        try:
            await asyncio.gather(*claims)
        except BaseException:
            # None of them goes on: a claim that ends after our next one would shut that one out.
            for each in claims:
                each.cancel()
            await asyncio.gather(*claims, return_exceptions=True)
            await close(logs)
            raise
        return cls(logs, markers)

    def behind(self, stores: Stores) -> list[str]:
        """Tables that do not hold all that earlier owners wrote: deciding on them would write old state over newer."""
        return [
            f"{table}/{key[1]} at {stores[key][table].applied()}, marker at {marker}"
            for key, markers in self.markers.items()
            for table, marker in markers.items()
            if stores[key][table].applied() < marker
        ]

    async def close(self) -> None:
        await close(self.logs)


async def close(logs: Mapping[Key, ShardLog]) -> None:
    """Let go of all of them, whatever one of them raises."""
    await asyncio.gather(*(one.stop() for one in logs.values()), return_exceptions=True)
