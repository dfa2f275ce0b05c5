"""One task per shard: takes what has arrived, runs it through the barrier, acknowledges its offsets."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agents.barrier import CaughtUp, process
from agents.metrics import BATCH_RECORDS, BATCH_SECONDS
from agents.ports import Incoming, Log, Shard, Store

#: Records decided together at most, and records held in memory at most, per shard.
MAX_BATCH = 500
MAX_QUEUED = 2000
#: A batch that takes longer than this is stuck: the process ends and starts again.
BATCH_TIMEOUT_S = 90.0


@dataclass(frozen=True, slots=True)
class Arrived:
    """A record and how to say that it is done."""

    record: Incoming
    acknowledge: Callable[[], Any]


class ShardRunner:
    """Feeds one shard. `failed` is called with whatever stops it: the process must end then."""

    def __init__(
        self,
        shard: Shard,
        log: Log,
        stores: Mapping[str, Store],
        caught_up: CaughtUp,
        clock_ready: Callable[[int], Awaitable[None]],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._shard = shard
        self._log = log
        self._stores = stores
        self._caught_up = caught_up
        self._clock_ready = clock_ready
        self._failed = failed
        self._queue: deque[Arrived] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._stopping = False
        self._task = asyncio.create_task(self._run(), name="shard-runner")

    async def put(self, arrived: Arrived) -> None:
        """Queue a record; waits while the queue is full."""
        while len(self._queue) >= MAX_QUEUED and not self._stopping:
            self._room.clear()
            await self._room.wait()
        if not self._stopping:
            self._queue.append(arrived)
            self._arrived.set()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def stop(self, timeout: float) -> None:
        """Finish the batch in hand, drop what is queued (it is not acknowledged, so it comes again).

        Raises:
            TimeoutError: the batch did not end within `timeout` seconds.
        """
        self._stopping = True
        self._queue.clear()
        self._arrived.set()
        self._room.set()
        async with asyncio.timeout(timeout):
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        try:
            while not self._stopping:
                await self._arrived.wait()
                self._arrived.clear()
                while self._queue and not self._stopping:
                    await self._batch()
        except Exception as error:
            self._failed(error)

    async def _batch(self) -> None:
        taken = [self._queue.popleft() for _ in range(min(MAX_BATCH, len(self._queue)))]
        self._room.set()
        records = [one.record for one in taken]
        await self._clock_ready(max(record.timestamp for record in records))
        started = time.monotonic()
        async with asyncio.timeout(BATCH_TIMEOUT_S):
            await process(self._shard, records, self._log, self._stores, self._caught_up)
        for one in taken:
            one.acknowledge()
        BATCH_RECORDS.observe(len(taken))
        BATCH_SECONDS.observe(time.monotonic() - started)
