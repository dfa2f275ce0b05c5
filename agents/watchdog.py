"""Finds out that a stream stands still. Pure: it is told what there is, and says why the process should end.

Faust's own detector only logs, and sees nothing when the fetcher has stopped. Worker and projector end themselves by this one.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

#: Seconds without progress of one partition that has lag.
STALL_LIMIT_S = 60.0
#: Seconds without progress from losing the partitions (or the start) to working on them again. A rebalance waits up to 60 s for
#: a member that does not answer.
OPEN_LIMIT_S = 150.0
#: After a gap this long between two looks the process itself was stopped: time begins anew.
SLEPT_S = 20.0

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Place:
    """How far a partition is: the next offset to be done, and how many records wait."""

    done: int
    lag: int


class Watchdog(Generic[K]):
    """Each method is one look, at `now` seconds of a monotonic clock; it returns why the process should end, None for no reason.

    Exactly one of `working`, `excused` and `opening` fits each moment.
    """

    def __init__(self, stall_limit: float = STALL_LIMIT_S, open_limit: float = OPEN_LIMIT_S) -> None:
        self._stall_limit = stall_limit
        self._open_limit = open_limit
        self._stood: dict[K, tuple[int, float]] = {}
        self._opening: tuple[object, float] | None = None
        self._looked_at: float | None = None

    def working(self, now: float, places: Mapping[K, Place]) -> str | None:
        """Partitions are being worked on. One that stands still is enough, however the others do."""
        self._woke(now)
        self._opening = None
        since = {}
        for key, place in places.items():
            done, at = self._stood.get(key, (place.done, now))
            if place.lag > 0:
                since[key] = (place.done, at if done == place.done else now)
        self._stood = since
        late = [key for key, (_, at) in since.items() if now - at > self._stall_limit]
        if not late:
            return None
        shown = ", ".join(f"{key} at {places[key].done} with {places[key].lag} waiting" for key in late)
        return f"no progress for {self._stall_limit:.0f} s: {shown}"

    def excused(self, now: float) -> None:
        """There is a known reason to stand still (clocks apart, database away), which is told elsewhere."""
        self._woke(now)
        self._stood, self._opening = {}, None

    def opening(self, now: float, progress: object) -> str | None:
        """Partitions are being joined, claimed and recovered; `progress` is any value that changes while that goes on."""
        self._woke(now)
        self._stood = {}
        if self._opening is None or self._opening[0] != progress:
            self._opening = (progress, now)
        if now - self._opening[1] <= self._open_limit:
            return None
        return f"partitions were not opened, and nothing was recovered, for {self._open_limit:.0f} s"

    def _woke(self, now: float) -> None:
        if self._looked_at is not None and now - self._looked_at > SLEPT_S:
            self._stood, self._opening = {}, None
        self._looked_at = now
