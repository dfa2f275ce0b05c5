"""Stops deciding while the broker's clock and ours are apart: a broker an hour ahead would close windows early.

The broker's time is read from the acknowledgement of a record just written to a topic with `LogAppendTime`, so it is fresh
whatever the lag is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from agents.metrics import CLOCK_SKEW

log = structlog.get_logger(__name__)

#: The spec's bound (`streams.md`, promise 10).
MAX_SKEW_MS = 5000
PROBE_EVERY_S = 5.0
PROBE_WHILE_SKEWED_S = 0.5

Probe = Callable[[], Awaitable[int]]


def now_ms() -> int:
    """This process's clock. Decides nothing; compared with the broker's, and read by the sweep."""
    return time.time_ns() // 1_000_000


class ClockGuard:
    """`ready` returns when records may be decided."""

    def __init__(self, clock: Callable[[], int] = now_ms) -> None:
        self._clock = clock
        self._sane = asyncio.Event()
        self._sane.set()
        self._probe_now = asyncio.Event()

    @property
    def sane(self) -> bool:
        return self._sane.is_set()

    async def ready(self, newest_append_ms: int) -> None:
        """Wait while the clocks are apart. `newest_append_ms` is the newest append time in the batch to be decided."""
        if newest_append_ms > self._clock() + MAX_SKEW_MS:
            self._stop(newest_append_ms - self._clock())
        await self._sane.wait()

    async def watch(self, probe: Probe) -> None:
        """Compare the clocks for ever; `probe` writes a record and returns its append time in ms."""
        while True:
            before = self._clock()
            appended = await probe()
            after = self._clock()
            skew = 0 if before <= appended <= after else min(abs(appended - before), abs(appended - after))
            CLOCK_SKEW.set(skew / 1000)
            if skew > MAX_SKEW_MS:
                self._stop(skew)
            elif not self._sane.is_set():
                log.info("clocks agree again; deciding goes on", skew_ms=skew)
                self._sane.set()
            self._probe_now.clear()
            pause = PROBE_EVERY_S if self._sane.is_set() else PROBE_WHILE_SKEWED_S
            try:
                async with asyncio.timeout(pause):
                    await self._probe_now.wait()
            except TimeoutError:
                continue

    def _stop(self, skew: int) -> None:
        if self._sane.is_set():
            log.error("clocks differ; nothing is decided until they agree", skew_ms=skew, limit_ms=MAX_SKEW_MS)
        self._sane.clear()
        self._probe_now.set()
