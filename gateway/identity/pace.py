"""Slows failed sign-ins, per account and per address; whoever signed in from there before is not slowed."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.limits import rate_limited

#: Failures that cost nothing, then the pause doubles up to the longest; one failure is forgotten every 10 s.
FREE = 5
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 2.0
FORGET_SECONDS = 10.0
MAX_FAILURES = 20.0
#: Slowed attempts at a time.
PER_ACCOUNT = 8
PER_ADDRESS = 32
MAX_KEYS = 50_000


class Pace:
    """In this process, in bounded memory. Unknown accounts are slowed like known ones."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._slowed: dict[str, int] = {}

    @asynccontextmanager
    async def attempt(self, account: str, address: str, device_id: str | None) -> AsyncIterator[None]:
        """Pause as long as this attempt must. Raises Problem 429 when too many attempts are being slowed."""
        if self._is_known(account, address, device_id):
            yield
            return
        keys = ((f"account {account}", PER_ACCOUNT), (f"address {address}", PER_ADDRESS))
        pause = max(self.pause(key) for key, _ in keys)
        if pause == 0:
            yield
            return
        if any(self._slowed.get(key, 0) >= most for key, most in keys):
            raise rate_limited("Too many failed sign-ins. Wait a moment.", LONGEST_PAUSE, FREE)
        for key, _ in keys:
            self._slowed[key] = self._slowed.get(key, 0) + 1
        try:
            await asyncio.sleep(pause)
            yield
        finally:
            for key, _ in keys:
                self._slowed[key] -= 1
                if not self._slowed[key]:
                    del self._slowed[key]

    def pause(self, key: str) -> float:
        """Seconds that an attempt on this key waits."""
        level = self._level(key)
        return 0.0 if level < FREE else min(FIRST_PAUSE * 2 ** (level - FREE), LONGEST_PAUSE)

    def failed(self, account: str, address: str) -> None:
        """Count a failed attempt."""
        for key in (f"account {account}", f"address {address}"):
            self._failures[key] = (min(self._level(key) + 1, MAX_FAILURES), self._clock())
            self._failures.move_to_end(key)
        while len(self._failures) > MAX_KEYS:
            self._failures.popitem(last=False)

    def succeeded(self, account: str, address: str, device_id: str | None) -> None:
        """Remember where the account's owner signs in from."""
        for place in (address, f"device {device_id}" if device_id else None):
            if place is not None:
                self._known[account, place] = None
                self._known.move_to_end((account, place))
        while len(self._known) > MAX_KEYS:
            self._known.popitem(last=False)

    def _is_known(self, account: str, address: str, device_id: str | None) -> bool:
        return (account, address) in self._known or (
            device_id is not None and (account, f"device {device_id}") in self._known
        )

    def _level(self, key: str) -> float:
        level, at = self._failures.get(key, (0.0, 0.0))
        return max(0.0, level - (self._clock() - at) / FORGET_SECONDS)
