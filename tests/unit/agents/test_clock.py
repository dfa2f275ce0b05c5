"""The guard between the broker's clock and ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from agents import clock as agents_clock
from agents.clock import MAX_HOLD_MS, MAX_SKEW_MS, ClockGuard
from tests.unit.core.organisation import HOUR, START


class Clocks:
    """Ours and the broker's, in ms; `probes` counts how often the broker was asked."""

    def __init__(self) -> None:
        self.ours = self.broker = START
        self.probes = 0
        self.guard = ClockGuard(lambda: self.ours)

    async def probe(self) -> int:
        await asyncio.sleep(0)
        self.probes += 1
        return self.broker

    async def watch(self) -> None:
        while True:
            await self.guard.wait(await self.guard.look(self.probe))

    def pass_time(self, ms: int) -> None:
        self.ours += ms
        self.broker += ms


def run(work: Callable[[Clocks], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        clocks = Clocks()
        async with asyncio.timeout(20):
            watch = asyncio.create_task(clocks.watch())
            try:
                await work(clocks)
            finally:
                watch.cancel()

    asyncio.run(limited())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - conditions of plain objects, which no event announces
        await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROBE_EVERY_S", "PROBE_WHILE_SKEWED_S", "HOLD_STEP_S"):
        monkeypatch.setattr(agents_clock, name, 0.005)


@pytest.mark.parametrize("wrong", [HOUR, -HOUR, MAX_SKEW_MS + 50, -MAX_SKEW_MS - 50])
@pytest.mark.parametrize("whose", ["broker", "ours"])
def test_nothing_is_decided_while_the_clocks_differ(wrong: int, whose: str) -> None:
    """A broker an hour ahead takes everybody's right to roll back."""

    async def work(clocks: Clocks) -> None:
        guard = clocks.guard
        setattr(clocks, whose, START + wrong)
        await until(lambda: not guard.sane)
        assert not guard.agrees(clocks.ours)
        waiting = asyncio.create_task(guard.horizon([clocks.ours]))
        await asyncio.sleep(0.03)
        assert not waiting.done()
        clocks.broker = clocks.ours + MAX_SKEW_MS
        assert await waiting >= clocks.ours
        assert guard.sane

    run(work)


def test_a_record_from_the_future_stops_deciding_before_the_next_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seconds between two probes are enough to close windows an hour early."""
    monkeypatch.setattr(agents_clock, "PROBE_EVERY_S", 1000.0)

    async def work(clocks: Clocks) -> None:
        guard = clocks.guard
        await until(lambda: clocks.probes == 1)
        assert guard.agrees(START + MAX_SKEW_MS) and guard.agrees(START - HOUR), "a backlog is no wrong clock"
        clocks.broker += HOUR
        assert not guard.agrees(clocks.broker)
        waiting = asyncio.create_task(guard.horizon([clocks.broker]))
        await until(lambda: clocks.probes > 5)
        assert not guard.sane and not waiting.done()

    run(work)


def test_a_probe_that_was_under_way_settles_no_doubt() -> None:
    """A broker whose clock is wrong now would have good commands set aside."""

    async def work(clocks: Clocks) -> None:
        guard, gate = ClockGuard(lambda: START), asyncio.Event()

        async def slow() -> int:
            await gate.wait()
            return START

        look = asyncio.create_task(guard.look(slow))
        await asyncio.sleep(0.001)
        waiting = asyncio.create_task(guard.horizon([START + HOUR]))
        await asyncio.sleep(0.001)
        gate.set()
        await look
        await asyncio.sleep(0.001)
        assert not guard.sane and not waiting.done()
        waiting.cancel()

    run(work)


def test_a_record_stamped_a_little_ahead_is_waited_for() -> None:
    """A broker whose clock was corrected by seconds would have commands set aside, or decided before their time."""

    async def work(clocks: Clocks) -> None:
        guard = clocks.guard
        await until(lambda: clocks.probes > 0)
        ahead = START + MAX_HOLD_MS - 1000
        waiting = asyncio.create_task(guard.horizon([START, ahead]))
        await until(lambda: clocks.probes > 3)
        assert guard.sane and not waiting.done()
        clocks.pass_time(MAX_HOLD_MS - 1000 - MAX_SKEW_MS - 1)
        await asyncio.sleep(0.02)
        assert not waiting.done()
        clocks.pass_time(2)
        assert await waiting >= ahead

    run(work)


def test_a_record_stamped_far_ahead_lies_beyond_the_horizon() -> None:
    """A partition would stand still for an hour, or for a year, behind one record that a wrong clock has stamped."""

    async def work(clocks: Clocks) -> None:
        await until(lambda: clocks.probes > 0)
        horizon = await clocks.guard.horizon([START + HOUR, START])
        assert START + MAX_SKEW_MS < horizon < START + HOUR

    run(work)


def test_a_step_of_our_own_clock_during_a_probe_is_seen_by_that_probe() -> None:
    """A worker an hour ahead would find all windows due for as long as it takes to the next probe."""

    async def work(clocks: Clocks) -> None:
        guard = ClockGuard(lambda: clocks.ours)

        async def probe() -> int:
            clocks.ours += HOUR
            return START

        await guard.look(probe)
        assert not guard.sane

    run(work)
