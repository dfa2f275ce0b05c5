"""Token buckets per user and per address, in this process, in bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from gateway import metrics
from gateway.http.problems import Problem

MAX_KEYS = 50_000


class Buckets:
    """`rate` a second, `burst` at once, for each key. The least recently used key is forgotten first."""

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic, keys: int = MAX_KEYS
    ) -> None:
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._keys = keys
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> float:
        """Take one token; 0 when there was one, else the seconds until there will be."""
        now = self._clock()
        level, at = self._levels.get(key, (self.burst, now))
        level = min(self.burst, level + (now - at) * self.rate)
        wait = 0.0 if level >= 1 else (1 - level) / self.rate
        self._levels[key] = (level - 1 if wait == 0 else level, now)
        self._levels.move_to_end(key)
        if len(self._levels) > self._keys:
            self._levels.popitem(last=False)
        return wait

    def __len__(self) -> int:
        return len(self._levels)


class Limits:
    """The limits of `api.md`: per user 100/s and bursts of 300, per address 300/s and bursts of 900."""

    def __init__(self, on: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.on = on
        self._users = Buckets(100, 300, clock)
        self._addresses = Buckets(300, 900, clock)
        self._sign_ins = Buckets(20, 100, clock)

    def user(self, user_id: str) -> None:
        """Count one call of the user. Raises Problem 429."""
        if self.on:
            _check(self._users, user_id, "user")

    def address(self, address: str) -> None:
        """Count one call from the address. Raises Problem 429."""
        if self.on:
            _check(self._addresses, address, "address")

    async def sign_in(self, address: str) -> None:
        """Count one step of a sign-in from the address: 20/s, bursts of 100. Raises Problem 429."""
        if self.on:
            _check(self._sign_ins, address, "address that signs in")


def _check(buckets: Buckets, key: str, scope: str) -> None:
    wait = buckets.take(key)
    if wait > 0:
        metrics.RATE_LIMITED.labels(scope).inc()
        raise rate_limited(f"More than {buckets.rate:.0f} calls a second per {scope}.", wait, int(buckets.burst))


def rate_limited(detail: str, wait: float, limit: int) -> Problem:
    """429 with `Retry-After` and `RateLimit-*`, in whole seconds."""
    seconds = str(max(1, round(wait + 0.5))).encode()
    headers = (
        (b"retry-after", seconds),
        (b"ratelimit-limit", str(limit).encode()),
        (b"ratelimit-remaining", b"0"),
        (b"ratelimit-reset", seconds),
    )
    return Problem(429, "rate-limited", detail, headers=headers)
