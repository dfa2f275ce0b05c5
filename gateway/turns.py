"""Work that costs too much to be done often at once: a few at a time, a few more wait, all others are sent away."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator

from gateway.http.problems import unavailable

RETRY_AFTER = 5


class Turns:
    """`most` at a time; `waiting` more wait up to `seconds` each. `what` names the work to those who are sent away."""

    def __init__(self, most: int, waiting: int, seconds: float, what: str = "verification") -> None:
        self._what = what
        self._free = asyncio.Semaphore(most)
        self._may_wait = waiting
        self._seconds = seconds

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and hold it. Raises Problem 503 when too many wait already, or it took too long."""
        if self._free.locked() and self._may_wait <= 0:
            raise unavailable(f"Too many wait for another {self._what} already. Try again later.", RETRY_AFTER)
        self._may_wait -= 1
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError:
            raise unavailable(f"Another {self._what} is not done yet. Try again later.", RETRY_AFTER) from None
        finally:
            self._may_wait += 1
        try:
            yield
        finally:
            self._free.release()


class Shares:
    """At most `most` at a time for each key."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[str] = Counter()

    @contextlib.contextmanager
    def share(self, key: str) -> Iterator[bool]:
        """Hold one of the key's shares; False when all are held by others, and then none is."""
        if self._taken[key] >= self._most:
            yield False
            return
        self._taken[key] += 1
        try:
            yield True
        finally:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]


class Lanes:
    """At most `most` at a time for each key; others of it wait in order, up to `seconds`, and `waiting` of all keys together."""

    def __init__(self, waiting: int, seconds: float) -> None:
        self._may_wait = waiting
        self._seconds = seconds
        self._lanes: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @contextlib.asynccontextmanager
    async def lane(self, *keys: tuple[str, int]) -> AsyncIterator[None]:
        """Hold a place for each (key, most). Raises TimeoutError when too many wait already, or it took too long.

        Callers name their keys in one order, so that no two wait for each other.
        """
        if self._may_wait <= 0:
            raise TimeoutError
        async with contextlib.AsyncExitStack() as held:
            self._may_wait -= 1
            try:
                async with asyncio.timeout(self._seconds):
                    for key, most in keys:
                        await held.enter_async_context(self._held(key, most))
            finally:
                self._may_wait += 1
            yield

    @contextlib.asynccontextmanager
    async def _held(self, key: str, most: int) -> AsyncIterator[None]:
        lane, users = self._lanes.get(key) or (asyncio.Semaphore(most), 0)
        self._lanes[key] = (lane, users + 1)
        try:
            async with lane:
                yield
        finally:
            lane, users = self._lanes[key]
            if users == 1:
                del self._lanes[key]
            else:
                self._lanes[key] = (lane, users - 1)

    def __len__(self) -> int:
        return len(self._lanes)
