"""Applies polls to PostgreSQL, one after the other: waits while it is away, stops at what must not be skipped."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import structlog

from agents.projector import metrics
from agents.projector.batch import Batch
from agents.projector.ports import Poll, ReadSide, Unavailable
from agents.projector.record import Poison

log = structlog.get_logger(__name__)

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0


class Projector:
    """`current_epoch` answers which polls are still valid, `resync` makes the consumer go to PostgreSQL's offsets, `stop`
    ends the process. `applied` is the next offset of each partition, as last committed."""

    def __init__(
        self,
        store: ReadSide,
        *,
        current_epoch: Callable[[], int],
        resync: Callable[[], None],
        stop: Callable[[Poison], Awaitable[None]],
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.store = store
        self.applied: dict[int, int] = {}
        self.waiting_for_database = False
        self._current_epoch = current_epoch
        self._resync = resync
        self._stop = stop
        self._jitter = jitter

    async def apply(self, poll: Poll) -> None:
        """Write one poll. Returns when it is committed, or void because the partitions were assigned anew."""
        began = time.perf_counter()
        batch = Batch()
        poison: Poison | None = None
        try:
            for part in poll.slices:
                batch.extend(part.partition, part.start, part.records, part.next_offset)
        except Poison as found:
            # What came before it is good, and is written first.
            poison = found
        try:
            held = await self._write(batch, poll.epoch)
        except Poison as found:
            first = min(batch.starts.items())
            found.partition, found.offset = first
            await self._stop(found)
            return
        if poison is not None and held:
            await self._stop(poison)
        if held:
            self._count(poll, batch, time.perf_counter() - began)
        elif poll.epoch == self._current_epoch():
            metrics.RESYNCS.inc()
            log.warning("the offsets in PostgreSQL were moved by someone else; going there", offsets=batch.starts)
            self._resync()

    async def positions(self, partitions: list[int]) -> dict[int, int]:
        """Where to begin reading.

        Raises:
            Unavailable: PostgreSQL did not answer.
        """
        self.applied = await self.look(partitions)
        return dict(self.applied)

    async def look(self, partitions: list[int]) -> dict[int, int]:
        """The offsets as PostgreSQL has them now.

        Raises:
            Unavailable: PostgreSQL did not answer.
        """
        try:
            found = await self.store.offsets(partitions)
        except Unavailable as error:
            self._failed(error)
            raise
        self._answered()
        return found

    async def look_for_rebuild(self) -> None:
        """Go where the read side stands if its offsets were set back although nothing new arrived. Raises `Unavailable`."""
        before = dict(self.applied)
        if not before:
            return
        found = await self.look(list(before))
        if any(found[partition] < offset for partition, offset in before.items()):
            log.warning("the offsets in PostgreSQL were set back; going there", offsets=found)
            self._resync()

    async def _write(self, batch: Batch, epoch: int) -> bool:
        pause = FIRST_PAUSE
        while True:
            try:
                verdict = await self.store.write(batch)
            except Unavailable as error:
                self._failed(error)
                await asyncio.sleep(pause * self._jitter(0.5, 1.0))
                pause = min(pause * 2, LONGEST_PAUSE)
                if epoch != self._current_epoch():
                    return False
            else:
                self._answered()
                return verdict.held

    def _failed(self, error: Unavailable) -> None:
        metrics.DATABASE_UP.set(0)
        metrics.FAILURES.inc()
        if not self.waiting_for_database:
            log.error("PostgreSQL does not answer; waiting, nothing is skipped", error=str(error))
        self.waiting_for_database = True

    def _answered(self) -> None:
        metrics.DATABASE_UP.set(1)
        if self.waiting_for_database:
            log.info("PostgreSQL answers again")
        self.waiting_for_database = False

    def _count(self, poll: Poll, batch: Batch, seconds: float) -> None:
        self.applied.update(batch.nexts)
        metrics.BATCHES.inc()
        metrics.RECORDS.inc(sum(len(part.records) for part in poll.slices))
        metrics.SECONDS.observe(seconds)
        now = time.time()
        metrics.APPLIED_AT.set(now)
        metrics.DELAY.set(max(0.0, now - max(part.records[-1].timestamp for part in poll.slices) / 1000))
