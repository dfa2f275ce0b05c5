"""Rebuilds the index of windows beside the deciding."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from agents.sweep import WindowSweep

log = structlog.get_logger(__name__)

#: Part of the loop's time that the rebuild may take.
REBUILD_SHARE = 0.3


async def rebuild(sweeps: Iterable[WindowSweep]) -> None:
    """Index what windows are open, in short slices; windows close as the index comes to know of them. It never waits but to sleep,
    so nothing is left half-done when it is cancelled."""
    now = asyncio.get_running_loop().time
    started, seen = now(), 0
    for sweep in sweeps:
        count, before = 0, now()
        for count in sweep.rebuild():  # noqa: B007 - the last one is what counts
            worked = now() - before
            await asyncio.sleep(worked * (1 - REBUILD_SHARE) / REBUILD_SHARE)
            before = now()
        seen += count
    log.info("window index is complete", requests=seen, seconds=round(now() - started, 3))
