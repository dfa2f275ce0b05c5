"""Work that costs too much to be done often at once: a few at a time, a few more wait, all others are sent away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from gateway.http.problems import unavailable

RETRY_AFTER = 5


class Turns:
    """`most` at a time; `waiting` more wait up to `seconds` each."""

    def __init__(self, most: int, waiting: int, seconds: float) -> None:
        self._free = asyncio.Semaphore(most)
        self._may_wait = waiting
        self._seconds = seconds

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and hold it. Raises Problem 503 when too many wait already, or it took too long."""
        if self._free.locked() and self._may_wait <= 0:
            raise unavailable("Others verify at this moment, and more wait for it. Try again later.", RETRY_AFTER)
        self._may_wait -= 1
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError:
            raise unavailable("Another verification is not done yet. Try again later.", RETRY_AFTER) from None
        finally:
            self._may_wait += 1
        try:
            yield
        finally:
            self._free.release()
