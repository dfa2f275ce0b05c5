"""Lets the shards of one worker begin their batches together, so that one request to the brokers carries the batches of all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

#: A shard that does something that takes long does not keep the others waiting for more than this, in seconds.
LONGEST_S = 0.02


class Turns:
    """While batches are under way, whoever comes waits for the last of them to end; all who wait then begin at once. Where only
    one shard has something to do, it never waits.
    """

    def __init__(self, longest_s: float = LONGEST_S) -> None:
        self._longest_s = longest_s
        self._running = 0
        self._next: asyncio.Future[None] | None = None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """For one batch of one shard."""
        if self._running:
            await self._together()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._begin()

    async def _together(self) -> None:
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._next = loop.create_future()
            loop.call_later(self._longest_s, _end, self._next)
        waiting = self._next
        await asyncio.shield(waiting)
        if self._next is waiting:
            self._next = None

    def _begin(self) -> None:
        if self._next is not None:
            _end(self._next)
            self._next = None


def _end(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
