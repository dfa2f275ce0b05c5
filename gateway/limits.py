"""Rate limits per user, per address, for signing in and for known devices.

Token buckets in this process, and Redis where gateways share them.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway import metrics
from gateway.http.addresses import network_of
from gateway.http.problems import Problem
from ops.settings import Settings

MAX_KEYS = 50_000


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_second` calls on the whole, `burst` at once; `scope` is whose."""

    scope: str
    per_second: int
    burst: int


class Shared(Protocol):
    """Counts calls where all gateways count."""

    async def take(self, rate: Rate, key: str, cost: int = 1) -> float:
        """0 when as many calls as `cost` may go on, else the seconds until they may."""


class Buckets:
    """One bucket of `rate` for each key. The least recently used key is forgotten first."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic, keys: int = MAX_KEYS) -> None:
        self.rate = rate
        self._clock = clock
        self._keys = keys
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, cost: int = 1) -> float:
        """Take `cost` tokens, at most a burst; 0 when they were there, else the seconds until they will be."""
        now = self._clock()
        level, at = self._levels.get(key, (self.rate.burst, now))
        level = min(self.rate.burst, level + (now - at) * self.rate.per_second)
        wait = 0.0 if level >= cost else (cost - level) / self.rate.per_second
        self._levels[key] = (level - cost if wait == 0 else level, now)
        self._levels.move_to_end(key)
        if len(self._levels) > self._keys:
            self._levels.popitem(last=False)
        return wait

    def __len__(self) -> int:
        return len(self._levels)


class Limits:
    """Each call takes from this process's bucket first, which bounds what one gateway lets through whatever becomes of Redis.

    What passes there asks `shared`, if there is one. IPv6 addresses count by their /64 network.
    """

    def __init__(
        self, settings: Settings, shared: Shared | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.on = settings.rate_limits == "on"
        self._shared = shared
        self._users = Buckets(Rate("user", settings.rate_user, settings.rate_user_burst), clock)
        self._addresses = Buckets(Rate("address", settings.rate_address, settings.rate_address_burst), clock)
        sign_in = settings.rate_sign_in, settings.rate_sign_in_burst
        self._sign_ins = Buckets(Rate("sign-in", *sign_in), clock)
        self._devices = Buckets(Rate("device", settings.rate_device, settings.rate_device_burst), clock)
        self._all_devices = Buckets(Rate("devices", *sign_in), clock)

    async def user(self, user_id: str, calls: int = 1) -> None:
        """Count calls of the user. Raises Problem 429.

        Of more than one at most what a full bucket holds beside the call that brings them, which is counted by itself: what is
        larger must pass too.
        """
        cost = calls if calls == 1 else min(calls, self._users.rate.burst - 1)
        if cost > 0:
            await self._count(self._users, user_id, "per user", cost)

    async def address(self, address: str, known: Callable[[], str | None] = lambda: None) -> None:
        """Count one call from the address. Raises Problem 429.

        Where the address has used up its rate, `known` is asked whose device calls; devices of one account then have a rate of
        their own there, and all of them together no more than signing in has.
        """
        network = network_of(address)
        wait = await self._wait(self._addresses, network)
        if wait == 0:
            return
        account = known()
        if account is None:
            raise _refused(self._addresses.rate, wait, "per address")
        # The account's first: whoever makes cookies of their own account takes nothing from the others'.
        await self._count(self._devices, f"{account} {network}", "by known devices of one account from this address")
        await self._count(self._all_devices, network, "by known devices from this address")

    async def sign_in(self, address: str) -> None:
        """Count one step of a sign-in from the address. Raises Problem 429."""
        await self._count(self._sign_ins, network_of(address), "to sign in per address")

    async def _count(self, buckets: Buckets, key: str, whose: str, cost: int = 1) -> None:
        wait = await self._wait(buckets, key, cost)
        if wait > 0:
            raise _refused(buckets.rate, wait, whose)

    async def _wait(self, buckets: Buckets, key: str, cost: int = 1) -> float:
        """Take `cost`; 0 when they were there, else the seconds until they may be."""
        if not self.on:
            return 0.0
        wait = buckets.take(key, cost)
        if wait == 0 and self._shared is not None:
            wait = await self._shared.take(buckets.rate, key, cost)
        return wait


def _refused(rate: Rate, wait: float, whose: str) -> Problem:
    metrics.RATE_LIMITED.labels(rate.scope).inc()
    return rate_limited(f"More than {rate.per_second} calls a second {whose}.", wait, rate.burst)


def rate_limited(detail: str, wait: float, limit: int) -> Problem:
    """429 with `Retry-After` and `RateLimit-*`, in whole seconds."""
    seconds = str(max(1, math.ceil(wait))).encode()
    headers = (
        (b"retry-after", seconds),
        (b"ratelimit-limit", str(limit).encode()),
        (b"ratelimit-remaining", b"0"),
        (b"ratelimit-reset", seconds),
    )
    return Problem(429, "rate-limited", detail, headers=headers)
