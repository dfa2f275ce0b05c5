"""The loop around the shards: the order of what is written, stopping when the clocks differ, and closing windows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
import pytest

from agents import runner as agents_runner
from agents import sweep as agents_sweep
from agents.barrier import process
from agents.ports import BatchFull, Effects, Fenced, Incoming, NotYet, Output
from agents.requests import REQUESTS, WINDOWS
from agents.runner import Arrived, ShardRunner
from agents.sweep import WindowSweep
from schemas import topics
from schemas.deadlines import Due
from tables.windows import read_entry, window_key, window_value
from tests.unit.agents.harness import PARTITION, MemoryStore, Worker, incoming, of_topic
from tests.unit.core import organisation as org
from tests.unit.core.organisation import HOUR, START, approve, new_id, rollback, submit


class Diary:
    """A log and stores that write down what was done, in order."""

    def __init__(self, fails: str = "") -> None:
        self.lines: list[str] = []
        self.fails = fails

    async def write_tables(self, writes: Mapping[str, Mapping[bytes, bytes | None]]) -> Mapping[str, int]:
        await asyncio.sleep(0)
        if self.fails in writes:
            raise Fenced("a newer owner")
        self.lines.append(f"changelog {' '.join(writes)}")
        return dict.fromkeys(writes, 7)

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
    """A shard that writes one row and one output per record; record 5 waits for reference data once, before 8 it is full."""

    def __init__(self) -> None:
        self.handled: list[int] = []
        self.told: list[int] = []
        self.waits = {5}
        self.full = {8}

    def handle(self, record: Incoming, effects: Effects) -> None:
        if record.offset in self.waits:
            self.waits.discard(record.offset)
            raise NotYet(99)
        if record.offset in self.full:
            self.full.discard(record.offset)
            raise BatchFull
        self.handled.append(record.offset)
        effects.write("b", b"%d" % record.offset, b"x")
        effects.write("a", b"%d" % record.offset, b"x")
        effects.outputs.append(Output("t", None, None, []))

    def decided(self, record: Incoming, effects: Effects) -> bool:
        return False

    def settled(self, offset: int) -> None:
        self.told.append(offset)


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


class Gate:
    """A clock that agrees once it is opened; `horizon` is the latest time that it lets through."""

    def __init__(self, horizon: int = 1 << 60) -> None:
        self.open = asyncio.Event()
        self.asked = 0
        self._horizon = horizon

    def agrees(self, newest: int) -> bool:
        return self.open.is_set() and newest <= self._horizon

    async def horizon(self, stamps: Sequence[int]) -> int:
        self.asked += 1
        await self.open.wait()
        return self._horizon


class Agreed(Gate):
    def agrees(self, newest: int) -> bool:
        return True


AGREED = Agreed()


def test_state_is_acknowledged_before_outputs_and_outputs_before_the_offset() -> None:
    """After a crash somebody was told of what never happened, or what happened is told to nobody."""
    diary, shard, waited = Diary(), Echo(), []
    stores = {"a": diary.store("a"), "b": diary.store("b")}

    async def caught_up(offset: int) -> None:
        waited.append(offset)
        diary.lines.append("waited")

    async def work() -> None:
        await process(shard, [incoming(b"", offset) for offset in (3, 4, 5, 6, 8)], diary, stores, caught_up)

    run(work)
    each = ["changelog a", "store a 7", "changelog b", "store b 7", "outputs 2"]
    one = [*each[:-1], "outputs 1"]
    assert diary.lines == [*each, "waited", *each, *one], "a full batch is written before it goes on"
    assert shard.handled == [3, 4, 5, 6, 8] and waited == [99]
    assert shard.told == [5, 7, 9]


def test_a_shard_is_told_what_is_settled_only_after_the_outputs() -> None:
    """What a crash kept from being sent is dropped with the next write, and nobody ever gets it."""
    diary, shard = Diary("outputs"), Echo()
    stores = {"a": diary.store("a"), "b": diary.store("b")}

    async def work() -> None:
        with pytest.raises(Fenced):
            await process(shard, [incoming(b"", offset) for offset in (1, 2)], diary, stores, at_once)

    run(work)
    assert shard.handled == [1, 2] and shard.told == []


def test_what_has_no_bytes_stops_a_batch_before_anything_is_written() -> None:
    """Half a batch is in the changelog, and the other half never will be."""

    class Wrong:
        def encode(self) -> bytes:
            raise TypeError("no bytes")

    class Broken(Echo):
        def handle(self, record: Incoming, effects: Effects) -> None:
            super().handle(record, effects)
            effects.write("b", b"wrong", Wrong())

    diary = Diary()

    async def work() -> None:
        with pytest.raises(TypeError, match="no bytes"):
            await process(Broken(), [incoming(b"", 1)], diary, {name: diary.store(name) for name in "ab"}, at_once)

    run(work)
    assert diary.lines == []


@pytest.mark.parametrize("fails", ["a", "b", "outputs"])
def test_nothing_goes_on_after_a_write_failed(fails: str) -> None:
    """A worker that lost its partition tells people what the other one will decide otherwise."""
    diary = Diary(fails)
    stores = {"a": diary.store("a"), "b": diary.store("b")}
    failures: list[BaseException] = []
    acknowledged: list[int] = []

    async def work() -> None:
        runner = ShardRunner(Echo(), diary, stores, at_once, AGREED, failures.append)
        for offset in range(3):
            await runner.put([Arrived(incoming(b"", offset), partial(acknowledged.append, offset))])
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
            shard, diary, {"a": diary.store("a")}, at_once, AGREED, lambda error: pytest.fail(repr(error))
        )
        for offset in range(1200):
            await runner.put([Arrived(incoming(b"", offset), partial(acknowledged.append, offset))])
        await until(lambda: len(acknowledged) == 1200)
        assert runner.waiting == 0
        await runner.stop(1)
        await runner.put([Arrived(incoming(b"", 1200), lambda: acknowledged.append(1200))])
        assert runner.waiting == 0, "nothing is queued after the end"

    run(work)
    assert shard.handled == acknowledged == list(range(1200))


def test_a_full_queue_holds_the_sender_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog fills the memory, and the process is killed."""
    monkeypatch.setattr(agents_runner, "MAX_QUEUED", 4)
    gate = Gate()

    async def work() -> None:
        diary, shard = Diary(), Echo()
        runner = ShardRunner(shard, diary, {}, at_once, gate, lambda error: pytest.fail(repr(error)))

        async def feed() -> None:
            for offset in range(20):
                await runner.put([Arrived(incoming(b"", offset), lambda: None)])

        feeder = asyncio.create_task(feed())
        for _ in range(50):
            await asyncio.sleep(0)
        assert not feeder.done() and runner.waiting <= 4
        gate.open.set()
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
        runner = ShardRunner(Echo(), Diary(), {}, never, AGREED, failures.append)
        await runner.put([Arrived(incoming(b"", 5), lambda: pytest.fail("acknowledged"))])
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
        runner = ShardRunner(shard, Slow(), {}, at_once, AGREED, lambda error: pytest.fail(repr(error)))
        await runner.put([Arrived(incoming(b"", 1), lambda: acknowledged.append(1))])
        await until(lambda: shard.handled == [1])
        await runner.put([Arrived(incoming(b"", 2), lambda: acknowledged.append(2))])
        with pytest.raises(TimeoutError):
            await runner.stop(0.02)
        gate.set()
        await runner.stop(1)

    run(work)
    assert acknowledged == [1] and shard.handled == [1]


def test_a_batch_that_waits_for_the_clocks_does_not_hold_up_a_rebalance() -> None:
    """A worker whose clock is wrong would be killed at each rebalance, and all its partitions recovered for nothing."""
    gate, shard = Gate(), Echo()

    async def work() -> None:
        runner = ShardRunner(shard, Diary(), {}, at_once, gate, lambda error: pytest.fail(repr(error)))
        await runner.put([Arrived(incoming(b"", 1), lambda: pytest.fail("acknowledged"))])
        await until(lambda: runner.held and gate.asked == 1)
        await runner.stop(1)
        assert not runner.held

    run(work)
    assert shard.handled == []


def test_a_batch_that_waits_for_reference_data_does_not_hold_up_a_rebalance() -> None:
    """A gateway that reads faster than this worker would make it miss a rebalance, and lose all its partitions."""
    diary, shard = Diary(), Echo()
    waits = asyncio.Event()

    async def never(_: int) -> None:
        waits.set()
        await asyncio.Event().wait()

    async def work() -> None:
        stores = {"a": diary.store("a")}
        runner = ShardRunner(shard, diary, stores, never, AGREED, lambda error: pytest.fail(repr(error)))
        for offset in (4, 5):
            await runner.put([Arrived(incoming(b"", offset), lambda: pytest.fail("acknowledged"))])
        await waits.wait()
        await runner.stop(1)

    run(work)
    assert shard.handled == [4], "5 still waits"
    assert diary.lines == ["changelog a", "store a 7", "outputs 1"], "what was decided is written whole"


def test_a_record_beyond_the_horizon_becomes_a_dead_letter_and_the_rest_is_decided() -> None:
    """A broker whose clock was an hour ahead leaves records that would close windows an hour early."""
    shard, acknowledged = Echo(), []
    gate = Gate(START)
    gate.open.set()
    sent: list[Output] = []

    class Kept(Diary):
        async def write_outputs(self, outputs: Sequence[Output]) -> None:
            sent.extend(outputs)

    async def work() -> None:
        runner = ShardRunner(shard, Kept(), {}, at_once, gate, lambda error: pytest.fail(repr(error)))
        body = orjson.dumps({"command_id": "c2"})
        for offset, at in ((1, START), (2, START + 1), (3, START - HOUR)):
            await runner.put([Arrived(incoming(body, offset, at=at), partial(acknowledged.append, offset))])
        await until(lambda: len(acknowledged) == 3)
        await runner.stop(1)

    run(work)
    assert shard.handled == [1, 3]
    told = [(one.topic, orjson.loads(one.value or b"")) for one in sent if one.value]
    assert [(topic, body["offset"]) for topic, body in told] == [(topics.DEAD_LETTERS, 2), (topics.OUTCOMES, 2)]
    assert told[1][1]["status"] == "failed" and "replay" in told[0][1]["error"]


# --- windows -------------------------------------------------------------------------------------------------------------


def decided(worker: Worker, number: int) -> list[str]:
    names = [new_id() for _ in range(number)]
    for ms, name in enumerate(names):
        worker.send(submit(request_id=name), ms)
        worker.send(approve("ann", request_id=name), ms)
    return names


def a_sweep(worker: Worker, clock: Callable[[], float] = lambda: 0.0) -> WindowSweep:
    return WindowSweep(PARTITION, worker.stores[REQUESTS], worker.stores[WINDOWS], clock)


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


def test_a_timer_that_was_lost_is_sent_again_under_the_same_id() -> None:
    """One lost message leaves a request approved for ever."""
    worker, seconds = worker_of_one_level(), [100.0]
    decided(worker, 1)
    sweep, end = a_sweep(worker, lambda: seconds[0]), START + 24 * HOUR
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
    windows.put_local(window_key(START + 24 * HOUR, name), window_value(Due(START + 24 * HOUR, "close", 2)))
    windows.put_local(window_key(START, "gone"), window_value(Due(START, "close", 2)))
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


class CountingStore(MemoryStore):
    """Counts what a scan hands out; `stale` is handed out instead of what is there, as an older snapshot."""

    def __init__(self, rows: dict[bytes, bytes], stale: dict[bytes, bytes] | None = None) -> None:
        super().__init__()
        self.rows = rows
        self.scanned = 0
        self._stale = stale

    def scan(self, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        rows = self.rows if self._stale is None else self._stale
        for key in sorted(key for key in rows if key >= start):
            self.scanned += 1
            yield key, rows[key]


def test_what_was_already_sent_is_not_looked_at_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an outage with many windows due a worker is busy looking at them, and decides nothing else."""
    monkeypatch.setattr(agents_sweep, "MAX_DUE", 3)
    monkeypatch.setattr(agents_sweep, "MAX_SCANNED", 10)
    worker, seconds = worker_of_one_level(), [0.0]
    names = decided(worker, 40)
    windows = CountingStore(worker.stores[WINDOWS].rows)
    sweep = WindowSweep(PARTITION, worker.stores[REQUESTS], windows, lambda: seconds[0])
    end, sent = START + 25 * HOUR, []
    for _ in range(30):
        windows.scanned = 0
        found = sweep.due(end)
        sent += found
        assert windows.scanned <= 10 and len(found) <= 3
    assert sorted(one.key.decode() for one in sent if one.key) == sorted(names), (
        "each once, although none was closed yet"
    )
    seconds[0] += agents_sweep.REPEAT_AFTER_S
    assert sum(len(sweep.due(end)) for _ in range(30)) == 40, "all of them again once they are overdue"


def test_windows_that_are_not_due_yet_do_not_hide_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a busy minute the sweep never gets as far as the window that is due, and money is not paid."""
    monkeypatch.setattr(agents_sweep, "MAX_SCANNED", 4)
    worker = worker_of_one_level()
    decided(worker, 30)
    late = worker.stores[WINDOWS].rows
    last = max(late)
    request_id = last[8:].decode()
    sweep, due = a_sweep(worker), worker.record(request_id).due
    assert due is not None
    sent = [one for _ in range(12) for one in sweep.due(due.at) if one.key == last[8:]]
    assert len(sent) == 1


def test_the_rebuild_enters_what_is_so_now_not_what_its_scan_saw() -> None:
    """While a worker starts, a request that is rolled back and approved anew is finalized by its old deadline, or never."""
    worker = worker_of_one_level()
    kept, moved, closed = decided(worker, 3)
    stale = dict(worker.stores[REQUESTS].rows)
    worker.send(rollback("ann", request_id=moved), 10_000)
    worker.send(approve("bob", request_id=moved), 20_000)
    worker.send(rollback("ann", request_id=closed), 30_000)
    entries = dict(worker.stores[WINDOWS].rows)
    (old_key,) = {key for key in entries if key.endswith(kept.encode())}
    del worker.stores[WINDOWS].rows[old_key]
    requests = CountingStore(worker.stores[REQUESTS].rows, stale)
    sweep = WindowSweep(PARTITION, requests, worker.stores[WINDOWS], lambda: 0.0)
    assert list(sweep.rebuild()) == [3]
    rows = worker.stores[WINDOWS].rows
    assert set(rows) == set(entries), "one for each open window and none for the one that was taken back"
    (moved_key,) = {key for key in rows if key.endswith(moved.encode())}
    assert rows[moved_key] == entries[moved_key], "the entry of the newer decision, with its version, stays"
    due = worker.record(kept).due
    assert due is not None
    assert read_entry(old_key, rows[old_key])[1] == replace(due, version=0)


def test_the_rebuild_lets_others_work_and_misses_nothing_that_is_decided_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker with a million requests decides nothing for seconds after each start."""
    worker, seconds = worker_of_one_level(), [0.0]
    names = decided(worker, 40)
    worker.stores[WINDOWS].rows.clear()

    def clock() -> float:
        seconds[0] += agents_sweep.SLICE_S
        return seconds[0]

    sweep = a_sweep(worker, clock)
    slices = 0
    for seen in sweep.rebuild(most=3):
        slices += 1
        assert seen <= 3 * slices
        name = names[(7 * slices) % 40]
        state = worker.record(name).state
        if state is not None and state.standing:
            worker.send(rollback("ann", request_id=name), 100 * slices)
    assert slices >= 13
    open_now = {name for name in names if worker.record(name).due is not None}
    assert 0 < len(open_now) < 40
    assert {key[8:].decode() for key in worker.stores[WINDOWS].rows} == open_now
    timed = list(a_sweep(worker, clock).rebuild())
    assert len(timed) == 2, "a slow disk ends a slice too"
