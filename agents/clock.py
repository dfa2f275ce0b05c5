"""Stops deciding while the broker's clock and ours are apart: a broker an hour ahead would close windows early.

The broker's time is read from the acknowledgement of a record just written to a topic with `LogAppendTime`, so it is fresh
whatever the lag is. What a wrong clock has left in the log is in ADR 9.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog

from agents.metrics import CLOCK_SKEW

log = structlog.get_logger(__name__)

#: The spec's bound (`streams.md`, promise 10).
MAX_SKEW_MS = 5000
#: A record stamped further ahead of the broker's own, later time than this is not waited for.
MAX_HOLD_MS = 60_000
PROBE_EVERY_S = 5.0
PROBE_WHILE_SKEWED_S = 0.5
HOLD_STEP_S = 1.0

Probe = Callable[[], Awaitable[int]]


def now_ms() -> int:
    """This process's clock. Decides nothing; compared with the broker's, and read by the sweep."""
    return time.time_ns() // 1_000_000


class ClockGuard:
    """Says which records may be decided."""

    def __init__(self, clock: Callable[[], int] = now_ms) -> None:
        self._clock = clock
        self._sane = asyncio.Event()
        self._sane.set()
        self._probe_now = asyncio.Event()
        self._doubts = 0
        self._appended = 0

    @property
    def sane(self) -> bool:
        return self._sane.is_set()

    def agrees(self, newest: int) -> bool:
        """Whether a batch whose newest append time (ms) is this may be decided at once."""
        return self.sane and newest <= self._clock() + MAX_SKEW_MS

    async def horizon(self, stamps: Sequence[int]) -> int:
        """Wait until a batch with these append times (ms) may be decided. Records stamped after the time returned never may.

        One stamped in the future is either told by a broker whose clock is wrong now: then the next probe says so, and nothing is
        decided. Or its clock was wrong then, and the probe, a later record with an earlier time, proves it: a stamp up to
        `MAX_HOLD_MS` ahead of the probe is waited for, any other is beyond the horizon.
        """
        newest = max(stamps)
        await self._sane.wait()
        if self.agrees(newest):
            return newest
        self._doubts += 1
        self._stop(newest - self._clock())
        await self._sane.wait()
        # Of this probe: while we wait, the horizon must not move.
        limit = self._appended + MAX_HOLD_MS
        due = max((stamp for stamp in stamps if stamp <= limit), default=0)
        while not self.agrees(due):
            await asyncio.sleep(min(HOLD_STEP_S, max(0.001, (due - self._clock() - MAX_SKEW_MS) / 1000)))
            await self._sane.wait()
        return limit

    async def look(self, probe: Probe) -> float:
        """Compare the clocks once; `probe` writes a record and returns its append time in ms. Seconds until the next look."""
        loop = asyncio.get_running_loop()
        self._probe_now.clear()
        doubts, began = self._doubts, loop.time()
        appended = await probe()
        # Ours may be stepped under way: what counts is where it stands now.
        latest = self._clock()
        earliest = latest - (loop.time() - began) * 1000
        skew = round(max(0.0, appended - latest, earliest - appended))
        CLOCK_SKEW.set(skew / 1000)
        if skew > MAX_SKEW_MS:
            self._stop(skew)
        elif doubts == self._doubts:
            # A probe that was under way when a doubt came up settles nothing.
            self._appended = appended
            if not self.sane:
                log.info("clocks agree; deciding goes on", skew_ms=skew)
            self._sane.set()
        return PROBE_EVERY_S if self.sane else PROBE_WHILE_SKEWED_S

    async def wait(self, pause: float) -> None:
        """Wait so many seconds, or until a look is needed at once."""
        try:
            async with asyncio.timeout(pause):
                await self._probe_now.wait()
        except TimeoutError:
            return

    def _stop(self, skew: int) -> None:
        if self.sane:
            log.error("clocks differ; nothing is decided until they agree", skew_ms=skew, limit_ms=MAX_SKEW_MS)
            self._probe_now.set()
        self._sane.clear()
