"""A value of the provider's that is fetched when it is needed, and kept for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from gateway.identity.provider.failures import Away

#: After a failure nobody asks again for so long.
FAILURE_SECONDS = 1.0

Value = TypeVar("Value")


class Fresh(Generic[Value]):
    """One fetch at a time, whoever waits: so a provider that is away is asked once a second, and nobody waits twice."""

    def __init__(
        self, fetch: Callable[[], Awaitable[Value]], seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._seconds = seconds
        self._clock = clock
        self._lock = asyncio.Lock()
        self._value: Value | None = None
        self._until = float("-inf")
        self._failure: Away | None = None
        self._failed = float("-inf")

    async def get(self) -> Value:
        """The value, at most so old. Raises Away."""
        async with self._lock:
            if self._value is not None and self._clock() < self._until:
                return self._value
            if self._failure is not None and self._clock() - self._failed < FAILURE_SECONDS:
                raise Away(self._failure.why, str(self._failure))
            try:
                self._value = await self._fetch()
            except Away as failure:
                self._failure, self._failed = failure, self._clock()
                raise
            self._until = self._clock() + self._seconds
            return self._value

    def expire(self) -> None:
        """The next `get` fetches it anew."""
        self._until = float("-inf")
