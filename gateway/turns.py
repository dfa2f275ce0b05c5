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
