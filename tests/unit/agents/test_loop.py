"""The loop around the shards: the order of what is written, stopping when the clocks differ, and closing windows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import orjson
import pytest

from agents import clock as agents_clock
from agents import runner as agents_runner
from agents import sweep as agents_sweep
from agents.barrier import process
from agents.clock import MAX_SKEW_MS, ClockGuard
from agents.ports import Effects, Fenced, Incoming, NotYet, Output
from agents.requests import REQUESTS, WINDOWS
from agents.runner import Arrived, ShardRunner
from agents.sweep import WindowSweep
from schemas import topics
from tables.windows import window_key, window_value
from tests.unit.agents.harness import PARTITION, MemoryStore, Worker, incoming, of_topic
from tests.unit.core import organisation as org
from tests.unit.core.organisation import HOUR, START, approve, new_id, rollback, submit


class Diary:
    """A log and stores that write down what was done, in order."""

    def __init__(self, fails: str = "") -> None:
        self.lines: list[str] = []
        self.fails = fails

    async def write_table(self, table: str, writes: dict[bytes, bytes | None]) -> int:
        await asyncio.sleep(0)
        if self.fails == table:
            raise Fenced("a newer owner")
        self.lines.append(f"changelog {table}")
        return 7

    async def write_outputs(self, outputs: Sequence[Output]) -> None:
        await asyncio.sleep(0)
        if self.fails == "outputs":
            raise Fenced("a newer owner")
        self.lines.append(f"outputs {len(outputs)}")

    def store(self, name: str) -> DiaryStore:
        return DiaryStore(name, self.lines)


class DiaryStore(MemoryStore):
    def __init__(self, name: str, lines: list[str]) -> None:
        super().__init__()
        self._name, self._lines = name, lines

    def apply(self, writes: dict[bytes, bytes | None], changelog_offset: int) -> None:
        self._lines.append(f"store {self._name} {changelog_offset}")
        super().apply(writes, changelog_offset)


class Echo:
    """A shard that writes one row and one output per record; record 5 waits for reference data once."""

    def __init__(self) -> None:
        self.handled: list[int] = []
        self.waits = {5}

    def handle(self, record: Incoming, effects: Effects) -> None:
        if record.offset in self.waits:
            self.waits.discard(record.offset)
            raise NotYet(99)
        self.handled.append(record.offset)
        effects.write("b", b"%d" % record.offset, b"x")
        effects.write("a", b"%d" % record.offset, b"x")
        effects.outputs.append(Output("t", None, None, []))


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await work()

    asyncio.run(limited())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - conditions of plain objects, which no event announces
        await asyncio.sleep(0.001)


async def at_once(_: int) -> None:
    return None


def test_state_is_acknowledged_before_outputs_and_outputs_before_the_offset() -> None:
    """After a crash somebody was told of what never happened, or what happened is told to nobody."""
    diary, shard, waited = Diary(), Echo(), []
    stores = {"a": diary.store("a"), "b": diary.store("b")}

    async def caught_up(offset: int) -> None:
        waited.append(offset)
        diary.lines.append("waited")

    async def work() -> None:
        await process(shard, [incoming(b"", offset) for offset in (3, 4, 5, 6)], diary, stores, caught_up)

    run(work)
    each = ["changelog a", "store a 7", "changelog b", "store b 7", "outputs 2"]
    assert diary.lines == [*each, "waited", *each]
    assert shard.handled == [3, 4, 5, 6] and waited == [99]


@pytest.mark.parametrize("fails", ["a", "b", "outputs"])
def test_nothing_goes_on_after_a_write_failed(fails: str) -> None:
    """A worker that lost its partition tells people what the other one will decide otherwise."""
    diary = Diary(fails)
    stores = {"a": diary.store("a"), "b": diary.store("b")}
    failures: list[BaseException] = []
    acknowledged: list[int] = []

    async def work() -> None:
        runner = ShardRunner(Echo(), diary, stores, at_once, at_once, failures.append)
        for offset in range(3):
            await runner.put(Arrived(incoming(b"", offset), partial(acknowledged.append, offset)))
        await until(lambda: bool(failures))
        await runner.stop(1)

    run(work)
    assert isinstance(failures[0], Fenced) and acknowledged == []
    assert not any(line.startswith("outputs") for line in diary.lines)


def test_a_runner_decides_in_order_and_acknowledges_after_the_outputs() -> None:
    """Records are skipped, or decided in another order than they came."""
    diary, shard = Diary(), Echo()
    acknowledged: list[int] = []

    async def work() -> None:
        runner = ShardRunner(
            shard, diary, {"a": diary.store("a")}, at_once, at_once, lambda error: pytest.fail(repr(error))
        )
        for offset in range(1200):
            await runner.put(Arrived(incoming(b"", offset), partial(acknowledged.append, offset)))
        await until(lambda: len(acknowledged) == 1200)
        assert runner.waiting == 0
        await runner.stop(1)
        await runner.put(Arrived(incoming(b"", 1200), lambda: acknowledged.append(1200)))
        assert runner.waiting == 0, "nothing is queued after the end"

    run(work)
    assert shard.handled == acknowledged == list(range(1200))


def test_a_full_queue_holds_the_sender_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog fills the memory, and the process is killed."""
    monkeypatch.setattr(agents_runner, "MAX_QUEUED", 4)
    gate = asyncio.Event()

    async def closed(_: int) -> None:
        await gate.wait()

    async def work() -> None:
        diary, shard = Diary(), Echo()
        runner = ShardRunner(shard, diary, {}, at_once, closed, lambda error: pytest.fail(repr(error)))

        async def feed() -> None:
            for offset in range(20):
                await runner.put(Arrived(incoming(b"", offset), lambda: None))

        feeder = asyncio.create_task(feed())
        for _ in range(50):
            await asyncio.sleep(0)
        assert not feeder.done() and runner.waiting <= 4
        gate.set()
        await feeder
        await until(lambda: len(shard.handled) == 20)
        await runner.stop(1)

    run(work)


def test_a_batch_that_stands_still_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that hangs is never replaced."""
    monkeypatch.setattr(agents_runner, "BATCH_TIMEOUT_S", 0.02)
    failures: list[BaseException] = []

    async def never(_: int) -> None:
        await asyncio.Event().wait()

    async def work() -> None:
        runner = ShardRunner(Echo(), Diary(), {}, never, at_once, failures.append)
        await runner.put(Arrived(incoming(b"", 5), lambda: pytest.fail("acknowledged")))
        await until(lambda: bool(failures))
        await runner.stop(1)

    run(work)
    assert isinstance(failures[0], TimeoutError)


def test_stopping_ends_the_batch_in_hand_and_drops_the_rest() -> None:
    """A rebalance leaves half a batch, or takes for ever."""
    gate, shard = asyncio.Event(), Echo()
    acknowledged: list[int] = []

    class Slow(Diary):
        async def write_outputs(self, outputs: Sequence[Output]) -> None:
            await gate.wait()

    async def work() -> None:
        runner = ShardRunner(shard, Slow(), {}, at_once, at_once, lambda error: pytest.fail(repr(error)))
        await runner.put(Arrived(incoming(b"", 1), lambda: acknowledged.append(1)))
        await until(lambda: shard.handled == [1])
        await runner.put(Arrived(incoming(b"", 2), lambda: acknowledged.append(2)))
        with pytest.raises(TimeoutError):
            await runner.stop(0.02)
        gate.set()
        await runner.stop(1)

    run(work)
    assert acknowledged == [1] and shard.handled == [1]


# --- clocks --------------------------------------------------------------------------------------------------------------


def test_nothing_is_decided_while_the_clocks_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker an hour ahead takes everybody's right to roll back."""
    monkeypatch.setattr(agents_clock, "PROBE_EVERY_S", 0.005)
    monkeypatch.setattr(agents_clock, "PROBE_WHILE_SKEWED_S", 0.005)
    ahead = 0

    async def probe() -> int:
        await asyncio.sleep(0)
        return START + ahead

    async def work() -> None:
        nonlocal ahead
        guard = ClockGuard(lambda: START)
        watch = asyncio.create_task(guard.watch(probe))
        await guard.ready(START)
        for wrong in (HOUR, -HOUR, MAX_SKEW_MS + 1, -MAX_SKEW_MS - 1):
            ahead = wrong
            await until(lambda: not guard.sane)
            waiting = asyncio.create_task(guard.ready(START))
            await asyncio.sleep(0.03)
            assert not waiting.done()
            ahead = MAX_SKEW_MS
            await waiting
            assert guard.sane
        watch.cancel()

    run(work)


def test_a_batch_from_the_future_stops_deciding_before_the_next_probe() -> None:
    """The seconds between two probes are enough to close windows an hour early."""
    asked = 0

    async def probe() -> int:
        nonlocal asked
        asked += 1
        return START

    async def work() -> None:
        guard = ClockGuard(lambda: START)
        waiting = asyncio.create_task(guard.ready(START + MAX_SKEW_MS + 1))
        await asyncio.sleep(0.01)
        assert not waiting.done() and not guard.sane
        watch = asyncio.create_task(guard.watch(probe))
        await waiting
        assert asked >= 1
        await guard.ready(START + MAX_SKEW_MS)
        await guard.ready(START - HOUR)  # a backlog is no wrong clock
        watch.cancel()

    run(work)


# --- windows -------------------------------------------------------------------------------------------------------------


def decided(worker: Worker, number: int) -> list[str]:
    names = [new_id() for _ in range(number)]
    for ms, name in enumerate(names):
        worker.send(submit(request_id=name), ms)
        worker.send(approve("ann", request_id=name), ms)
    return names


def a_sweep(worker: Worker) -> WindowSweep:
    return WindowSweep(PARTITION, worker.stores[REQUESTS], worker.stores[WINDOWS])  # type: ignore[arg-type]


def close_all(worker: Worker, outputs: Sequence[Output], at: int) -> list[str]:
    """Decide what the sweep sends, as it comes back from the commands topic."""
    closed = []
    for output in outputs:
        assert output.topic == topics.COMMANDS and output.partition == PARTITION
        worker.offset += 1
        found = worker.handle(incoming(output.value, worker.offset, key=output.key, at=at))
        closed += [one["request_id"] for one in of_topic(found, topics.OUTCOMES) if one["status"] == "accepted"]
    return closed


def worker_of_one_level() -> Worker:
    return Worker(rules=org.fixed_rules(("L1",)))


def test_a_window_is_closed_when_it_is_due_and_once() -> None:
    """Approved money is never paid; or it is paid while it can still be taken back."""
    worker = worker_of_one_level()
    first, second = decided(worker, 2)
    sweep, end = a_sweep(worker), START + 24 * HOUR
    assert sweep.due(end - 1) == []
    sent = sweep.due(end)
    assert close_all(worker, sent, end) == [first]
    assert sweep.due(end) == []
    assert close_all(worker, sweep.due(end + 1), end + 1) == [second]
    assert worker.stores[WINDOWS].rows == {} and sweep.due(end + HOUR) == []


def test_a_timer_that_was_lost_is_sent_again_under_the_same_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """One lost message leaves a request approved for ever."""
    worker, seconds = worker_of_one_level(), [100.0]
    decided(worker, 1)
    monkeypatch.setattr("agents.sweep.time.monotonic", lambda: seconds[0])
    sweep, end = a_sweep(worker), START + 24 * HOUR
    (lost,) = sweep.due(end)
    assert sweep.due(end) == []
    seconds[0] += agents_sweep.REPEAT_AFTER_S
    (again,) = sweep.due(end)
    assert again.value == lost.value
    assert len(close_all(worker, [again, lost], end)) == 2, "the second is answered as the first was"
    state = worker.record(again.key.decode() if again.key else "").state
    assert state is not None and state.version == 3


def test_after_the_index_was_lost_all_due_windows_still_close() -> None:
    """After an outage requests stay approved, and nobody is paid."""
    worker = worker_of_one_level()
    names = decided(worker, 5)
    worker.send(rollback("ann", request_id=names[0]), 9)
    worker.stores[WINDOWS].rows.clear()
    sweep, end = a_sweep(worker), START + 25 * HOUR
    assert list(sweep.rebuild()) == [5]
    assert sorted(close_all(worker, sweep.due(end), end)) == sorted(names[1:])


def test_left_over_entries_close_nothing_and_go_away() -> None:
    """An entry of a decision that was rolled back finalizes the next one early."""
    worker = worker_of_one_level()
    (name,) = decided(worker, 1)
    worker.send(rollback("ann", request_id=name), 5)
    worker.send(approve("bob", request_id=name), 12 * HOUR)
    windows = worker.stores[WINDOWS]
    windows.put_local(window_key(START + 24 * HOUR, name), window_value(START + 24 * HOUR, 2))
    windows.put_local(window_key(START, "gone"), window_value(START, 2))
    sweep = a_sweep(worker)
    assert sweep.due(START + 24 * HOUR) == []
    assert len(windows.rows) == 1
    sent = sweep.due(START + 36 * HOUR)
    assert [orjson.loads(one.value or b"")["decision_version"] for one in sent] == [4]
    assert close_all(worker, sent, START + 36 * HOUR) == [name]


def test_a_sweep_takes_a_bounded_number_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an outage a flood of timers leaves no room for people."""
    monkeypatch.setattr(agents_sweep, "MAX_DUE", 3)
    worker = worker_of_one_level()
    names = decided(worker, 8)
    sweep, end = a_sweep(worker), START + 25 * HOUR
    closed: list[str] = []
    for _ in range(3):
        sent = sweep.due(end)
        assert len(sent) <= 3
        closed += close_all(worker, sent, end)
    assert sorted(closed) == sorted(names)
