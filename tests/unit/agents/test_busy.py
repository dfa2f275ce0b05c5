"""A shard that waits for work done elsewhere: what it decided before counts, and the wait is nobody's stand-still."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from agents import runner as agents_runner
from agents.ports import Busy, Effects, Incoming
from agents.runner import Arrived, ShardRunner
from agents.watchdog import Place, Watchdog
from tests.unit.agents.harness import incoming
from tests.unit.agents.test_loop import AGREED, Diary, Echo, at_once, run, until


class Checking(Echo):
    """Every third record needs work, which ends when `go_on` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.waits, self.full = set(), set()
        self.ready: set[int] = set()
        self.working: list[int] = []
        self.go_on = asyncio.Event()

    def handle(self, record: Incoming, effects: Effects) -> None:
        if record.offset % 3 == 2 and record.offset not in self.ready:
            raise Busy(partial(self._work, record.offset))
        super().handle(record, effects)

    async def _work(self, offset: int) -> None:
        self.working.append(offset)
        await self.go_on.wait()
        self.go_on.clear()
        self.ready.add(offset)


def test_what_was_done_before_the_wait_is_acknowledged_and_the_wait_is_excused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is killed for standing still, with all its partitions, because somebody publishes a few large rules files."""
    monkeypatch.setattr(agents_runner, "BATCH_TIMEOUT_S", 0.05)
    acknowledged: list[int] = []

    async def work() -> None:
        shard, diary = Checking(), Diary()
        stores = {"a": diary.store("a"), "b": diary.store("b")}
        runner = ShardRunner(shard, diary, stores, at_once, AGREED, lambda error: pytest.fail(repr(error)))
        for offset in range(9):
            await runner.put([Arrived(incoming(b"", offset), partial(acknowledged.append, offset))])
        dog, now = Watchdog[str](), 0.0
        for checked in (2, 5, 8):
            await until(lambda: runner.held and shard.working[-1:] == [checked])  # noqa: B023 - used at once
            assert acknowledged == list(range(checked))
            for _ in range(10):
                places = {"reference": Place(checked, 9 - checked)}
                assert dog.working(now, {key: place for key, place in places.items() if not runner.held}) is None
                now += 10
            await asyncio.sleep(0.1)
            shard.go_on.set()
        await until(lambda: len(acknowledged) == 9)
        assert not runner.held and acknowledged == shard.handled == list(range(9))
        await runner.stop(1)

    run(work)


def test_a_wait_that_never_ends_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a check that hangs would stop the administration, and nobody would be told."""
    monkeypatch.setattr(agents_runner, "BUSY_TIMEOUT_S", 0.05)
    failures: list[BaseException] = []

    async def work() -> None:
        runner = ShardRunner(Checking(), Diary(), {}, at_once, AGREED, failures.append)
        await runner.put([Arrived(incoming(b"", 2), lambda: pytest.fail("acknowledged"))])
        await until(lambda: bool(failures))
        await runner.stop(1)

    run(work)
    assert isinstance(failures[0], TimeoutError)


def test_a_rebalance_does_not_wait_for_the_work() -> None:
    """Otherwise a check of 40 s would hold up every partition, or get the worker killed."""

    async def work() -> None:
        shard = Checking()
        runner = ShardRunner(shard, Diary(), {}, at_once, AGREED, lambda error: pytest.fail(repr(error)))
        await runner.put([Arrived(incoming(b"", 2), lambda: pytest.fail("acknowledged"))])
        await until(lambda: runner.held)
        await runner.stop(1)
        assert shard.handled == []

    run(work)
