"""Lets the shards of one worker begin their batches together, so that one request to the brokers carries the batches of all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

#: A shard that does something that takes long does not keep the others waiting for more than this, in seconds.
LONGEST_S = 0.02


class Turns:
    """Whoever comes while batches are under way waits for the last of them to end; all who wait then begin at once. Without a batch
    under way, all who are woken by the same thing begin at once: those of one poll.
    """

    def __init__(self, longest_s: float = LONGEST_S) -> None:
        self._longest_s = longest_s
        self._running = 0
        self._next: asyncio.Future[None] | None = None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """For one batch of one shard."""
        await self._together()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            if not self._running and self._next is not None:
                asyncio.get_running_loop().call_soon(self._begin, self._next)

    async def _together(self) -> None:
        if self._next is None:
            loop = asyncio.get_running_loop()
            self._next = loop.create_future()
            if self._running:
                loop.call_later(self._longest_s, self._begin, self._next)
            else:
                loop.call_soon(self._begin, self._next)  # after whoever is awake already
        await asyncio.shield(self._next)

    def _begin(self, waiting: asyncio.Future[None]) -> None:
        if not waiting.done():
            waiting.set_result(None)
        if self._next is waiting:
            self._next = None
