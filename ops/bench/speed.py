"""How fast the machine is at the moment: CPU time of a fixed work, done again and again beside a measurement.

Shared machines are a quarter faster in one minute than in the next. Costs of different minutes can be compared once each is divided
by what the same work cost in its minute.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import fmean

#: Between two samples, in seconds; one takes 1 ms of CPU on a machine that is idle, 5 ms on one that is busy.
EVERY = 0.2
_ROUNDS = 4_000


class Speed:
    """`samples`: seconds of CPU, one for each time the work was done."""

    def __init__(self) -> None:
        self.samples: list[float] = []

    @property
    def cost_ms(self) -> float:
        """Mean CPU of the fixed work, ms; what the machine's slowness is measured by."""
        return 1000 * fmean(self.samples)


@asynccontextmanager
async def beside() -> AsyncIterator[Speed]:
    """Samples while the block runs; at least one."""
    speed = Speed()
    speed.samples.append(_timed())
    sampling = asyncio.create_task(_sample(speed))
    try:
        yield speed
    finally:
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)


async def _sample(speed: Speed) -> None:
    while True:
        await asyncio.sleep(EVERY)
        speed.samples.append(_timed())


def _timed() -> float:
    began = time.thread_time()
    found: dict[str, list[int]] = {}
    for number in range(_ROUNDS):
        found[str(number)] = [one for one in (number, number + 1) if one % 2]
    return time.thread_time() - began
