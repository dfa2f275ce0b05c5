"""What the host of the shards needs of the world. The Faust worker and the simulator each bring their own."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from agents.clock import now_ms
from agents.ports import LocalStore, Log, Output
from rules.decide_reference import Checking, findings_of
from rules.submit import ActiveRules
from schemas.catalog import Catalog

#: A shard: source topic and partition.
Key = tuple[str, int]


class Unreachable(Exception):
    """The broker did not do it, or nobody knows whether it did."""


class ShardLog(Log, Protocol):
    """One shard's writer identity, from its claim to its end."""

    async def claim(self) -> Mapping[str, int]:
        """Shut out every earlier owner. By table, the changelog offset of the marker that ends what they wrote.

        Raises:
            Fenced: a newer owner has claimed the shard meanwhile.
        """
        ...

    async def stop(self) -> None:
        """Let go of it; safe to call twice."""
        ...


class DiskStore(LocalStore, Protocol):
    """One partition of a table on this worker's disk."""

    def applied(self) -> int:
        """The changelog offset up to which the store holds the table, -1 for none."""
        ...

    def wipe(self) -> None:
        """Remove it; the process ends right after."""
        ...


class Cluster(Protocol):
    """The broker, as far as the host itself talks to it. Every call raises `Unreachable` within a bounded time."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def shard_log(self, key: Key) -> ShardLog:
        """A log for the shard, not yet claimed."""
        ...

    async def committed(self) -> Mapping[Key, int]:
        """What the group has committed."""
        ...

    async def bounds(self, keys: Iterable[Key]) -> Mapping[Key, tuple[int, int]]:
        """First offset and end of each source partition."""
        ...

    async def send(self, outputs: Sequence[Output]) -> None:
        """Append records under no shard's identity, and wait for the broker."""
        ...

    async def append_time(self) -> int:
        """The broker's time now (ms), from the acknowledgement of a record just written."""
        ...


class Reference(Protocol):
    """Follows `athena.reference`. `failed` is set when it no longer can."""

    catalog: Catalog
    failed: BaseException | None

    async def start(self) -> None:
        """Read all there is, then follow in the background."""
        ...

    async def stop(self) -> None: ...

    async def end_offset(self) -> int:
        """The topic's end, as the broker has it now."""
        ...

    async def wait_for(self, offset: int, timeout: float) -> bool:
        """Wait until all before `offset` is applied; False when that took longer than `timeout` seconds."""
        ...


class Watch(Protocol):
    """Checks the current rules file again when the organisation has changed. See `agents.rules_watch`."""

    async def look(self, *, ours: bool) -> None:
        """Look once, after a pause; `ours`: this worker has the reference data."""
        ...


class Die(Protocol):
    """See `agents.exits.die`."""

    def __call__(self, reason: str, code: int, error: BaseException | None = None) -> NoReturn: ...


@dataclass(frozen=True)
class World:
    """`generation`: the consumer group's, as current. `progress`: any value that changes while tables are being recovered.
    `partition_of`: where producers put a key. `checking` makes what checks the rules files of one shard."""

    partitions: int
    cluster: Cluster
    reference: Reference
    rules: Callable[[], ActiveRules | None]
    store: Callable[[str, int], DiskStore]
    generation: Callable[[], int]
    die: Die
    now_ms: Callable[[], int] = now_ms
    progress: Callable[[], object] = lambda: None
    partition_of: Callable[[bytes], int] | None = None
    checking: Callable[[], Checking] = lambda: findings_of
    watch: Watch | None = None
    rng: random.Random = field(default_factory=random.Random)
