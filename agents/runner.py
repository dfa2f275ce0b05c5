"""One task per shard: takes what has arrived, runs it through the barrier, acknowledges its offsets."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from agents.barrier import CaughtUp, Work, process_until_busy
from agents.metrics import BATCH_RECORDS, BATCH_SECONDS
from agents.misdated import Misdated
from agents.ports import Incoming, Log, Shard, Store
from agents.turns import Turns

#: Records decided together at most, and records held in memory at most (beside one poll, and a batch that is put back), per shard.
MAX_BATCH = 500
MAX_QUEUED = 2000
#: A batch that takes longer than this is stuck: the process ends and starts again.
BATCH_TIMEOUT_S = 90.0
#: Nor does work that is done elsewhere last longer: it has bounds of its own, see `agents.rules_checks`.
BUSY_TIMEOUT_S = 150.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Arrived:
    """A record and how to say that it is done."""

    record: Incoming
    acknowledge: Callable[[], Any]


class BatchClock(Protocol):
    """See `agents.clock.ClockGuard`."""

    def agrees(self, newest: int) -> bool: ...

    async def horizon(self, stamps: Sequence[int]) -> int: ...


class _Revoked(Exception):
    """The shard is given up while a batch waits for something outside: what is not decided comes again."""


class ShardRunner:
    """Feeds one shard. `failed` is called with whatever stops it: the process must end then."""

    def __init__(
        self,
        shard: Shard,
        log: Log,
        stores: Mapping[str, Store],
        caught_up: CaughtUp,
        clock: BatchClock,
        failed: Callable[[BaseException], None],
        turns: Turns | None = None,
    ) -> None:
        self._shard = shard
        self._log = log
        self._stores = stores
        self._caught_up = caught_up
        self._clock = clock
        self._failed = failed
        self._turns = turns or Turns()
        self._queue: deque[Arrived] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._stopping = asyncio.Event()
        self._held = False
        self._task = asyncio.create_task(self._run(), name="shard-runner")

    async def put(self, arrived: Sequence[Arrived]) -> None:
        """Queue records; waits while the queue is full."""
        while len(self._queue) >= MAX_QUEUED and not self._stopping.is_set():
            self._room.clear()
            await self._room.wait()
        if not self._stopping.is_set():
            self._queue.extend(arrived)
            self._arrived.set()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def held(self) -> bool:
        """Whether a batch waits for the clocks, or for work that is done elsewhere within a time of its own: no stand-still."""
        return self._held

    async def stop(self, timeout: float) -> None:
        """Finish the batch in hand, drop what is queued (it is not acknowledged, so it comes again).

        A batch that only waits, for the clocks or for reference data, is dropped from there on.

        Raises:
            TimeoutError: the batch did not end within `timeout` seconds.
        """
        self._stopping.set()
        self._queue.clear()
        self._arrived.set()
        self._room.set()
        async with asyncio.timeout(timeout):
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                await self._arrived.wait()
                self._arrived.clear()
                while self._queue and not self._stopping.is_set():
                    await self._next()
        except _Revoked:
            return
        except Exception as error:
            self._failed(error)

    async def _next(self) -> None:
        work: Work | None = None
        async with self._turns.turn():
            if self._queue:  # given up while it waited for its turn
                work = await self._batch()
        if work is not None:
            await self._elsewhere(work)

    async def _batch(self) -> Work | None:
        taken = [self._queue.popleft() for _ in range(min(MAX_BATCH, len(self._queue)))]
        self._room.set()
        records = [one.record for one in taken]
        shard = await self._trusted([record.timestamp for record in records])
        started = time.monotonic()
        async with asyncio.timeout(BATCH_TIMEOUT_S):
            done, work = await process_until_busy(shard, records, self._log, self._stores, self._wait_for_reference)
        for one in taken[:done]:
            one.acknowledge()
        if done:
            BATCH_RECORDS.observe(done)
            BATCH_SECONDS.observe(time.monotonic() - started)
        if work is not None:
            # What was done is acknowledged: the offsets go on with each such record, and the wait is not the batch's.
            self._queue.extendleft(reversed(taken[done:]))
        return work

    async def _elsewhere(self, work: Work) -> None:
        self._held = True
        try:
            async with asyncio.timeout(BUSY_TIMEOUT_S):
                await self._unless_revoked(work())
        finally:
            self._held = False

    async def _trusted(self, stamps: Sequence[int]) -> Shard:
        """The shard, once records with these append times may be decided."""
        newest = max(stamps)
        if self._clock.agrees(newest):
            return self._shard
        self._held = True
        try:
            horizon = await self._unless_revoked(self._clock.horizon(stamps))
        finally:
            self._held = False
        return self._shard if newest <= horizon else Misdated(self._shard, horizon)

    async def _wait_for_reference(self, offset: int) -> None:
        # What was decided before is written and acknowledged: dropping the rest leaves the shard as its log has it.
        await self._unless_revoked(self._caught_up(offset))

    async def _unless_revoked(self, waiting: Awaitable[T]) -> T:
        work = asyncio.ensure_future(waiting)
        stopped = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise _Revoked
            return work.result()
        finally:
            work.cancel()
            stopped.cancel()
