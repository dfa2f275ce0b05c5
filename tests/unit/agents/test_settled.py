"""What a record keeps until its outputs are in the log, how large that gets, and what happens to a command that comes again."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence

import pytest

from agents import emissions
from agents import requests as agents_requests
from agents.ports import BatchFull, Effects, Incoming
from agents.requests import CHAINS, REQUESTS
from schemas import topics
from schemas.commands import CommandBase
from schemas.envelope import header
from tables.record import REMEMBERED_REFUSALS, Record
from tests.unit.agents.harness import (
    PARTITION,
    MemoryLog,
    Worker,
    commit,
    document,
    incoming,
    of_topic,
    verify_chains,
    work_through,
    written,
)
from tests.unit.core.organisation import REQUEST_ID, START, approve, comment, new_id, reject, rollback, submit, withdraw

LARGEST_RECORD = 1024 * 1024
BATCH = 500


def records_of(commands: Sequence[CommandBase], first: int = 0) -> list[Incoming]:
    return [written(command, offset, START + offset) for offset, command in enumerate(commands, first)]


def decided(worker: Worker, records: Sequence[Incoming], batch: int = BATCH) -> MemoryLog:
    return work_through(worker.shard, worker.stores, records, batch)


def strangers(number: int, comment: str | None = None) -> list[CommandBase]:
    """Votes on requests that do not exist: all are refused, into the one chain of the partition."""
    return [approve("ann", comment=comment, request_id=new_id(), command_id=new_id()) for _ in range(number)]


@pytest.mark.parametrize("text", ["漢" * 4000, '"' * 4000, "🎉" * 4000], ids=["Chinese", "quotes", "emoji"])
@pytest.mark.parametrize("unknown", [False, True], ids=["one request", "one partition"])
def test_a_batch_of_refused_comments_stays_small_and_loses_none_of_them(unknown: bool, text: str) -> None:
    """After an outage a backlog of refused commands with long comments can never be written, and nothing goes on."""
    worker = Worker()
    commands: list[CommandBase] = [submit()]
    for _ in range(BATCH):
        commands.append(
            reject("cid", comment=text, request_id=new_id() if unknown else REQUEST_ID, command_id=new_id())
        )
    log = decided(worker, records_of(commands))
    assert log.largest < LARGEST_RECORD // 2
    refused = [one for one in of_topic(log.outputs, topics.AUDIT) if one["outcome"] == "refused"]
    assert len(refused) == BATCH and all(one["personal"]["comment"] == text for one in refused)
    verify_chains(of_topic(log.outputs, topics.AUDIT))


def test_thousands_of_refusals_in_a_row_cost_the_same_each() -> None:
    """Somebody who tries ids brings a partition to a stand: each refusal costs more than the one before."""
    worker = Worker()
    records = records_of(strangers(5000))
    took = []
    for start in range(0, 5000, 1000):
        began = time.process_time()
        log = decided(worker, records[start : start + 1000])
        took.append(time.process_time() - began)
        assert log.largest < LARGEST_RECORD // 4
    assert min(took[1:]) < 3 * took[0] and min(took[-2:]) < 3 * min(took[:2])
    small, large = (cost(records[:1000], batch) for batch in (50, 1000))
    assert large < 3 * small, "a longer batch is no dearer"


def cost(records: list[Incoming], batch: int) -> float:
    """CPU seconds of deciding them on a new worker, the least of three tries: what the process collects meanwhile is not theirs."""
    tries = []
    for _ in range(3):
        worker = Worker()
        gc.collect()
        gc.disable()
        began = time.process_time()
        decided(worker, records, batch)
        tries.append(time.process_time() - began)
        gc.enable()
    return min(tries)


def test_a_full_record_ends_its_batch_and_only_then() -> None:
    """A batch never ends, or its record bursts the message."""
    worker, effects = Worker(), Effects()
    handled = 0
    with pytest.raises(BatchFull):
        for record in records_of(strangers(100, "漢" * 4000)):
            worker.shard.handle(record, effects)
            handled += 1
    commit(effects, worker.stores)
    chain = Record.decode(worker.stores[CHAINS].rows[f"partition:{PARTITION}".encode()])
    assert 5 < handled < 100 and len(chain.emissions) == handled == chain.seq
    worker.restart()
    alone = Effects()
    worker.shard.handle(written(strangers(1, "漢" * 4000)[0], 100), alone)
    assert alone.writes, "with nothing to write first it goes on beyond the limit"


def test_what_is_settled_goes_with_the_next_write() -> None:
    """A million requests each keep what nobody needs any more."""
    worker = Worker()
    decided(worker, records_of([submit(), approve("ann")]))
    decided(worker, records_of([comment()], 2))
    record = worker.record()
    assert [one.offset for one in record.emissions] == [2] and record.settled == 2


def test_a_settled_command_that_is_no_longer_remembered_is_skipped() -> None:
    """After a crash before the commit, hundreds of refused commands are refused anew, or land in the dead letters."""
    worker = Worker()
    known: list[CommandBase] = [submit()]
    known += [approve("tom", command_id=new_id()) for _ in range(2 * REMEMBERED_REFUSALS)]
    records = records_of(known + strangers(2 * REMEMBERED_REFUSALS))
    first = decided(worker, records, 100)
    before = {name: dict(store.rows) for name, store in worker.stores.items()}
    worker.restart()
    again = decided(worker, records, 70)
    sent = {header(one.headers, "ce_id"): one for one in first.outputs}
    assert {one.topic for one in again.outputs} <= {topics.OUTCOMES, topics.AUDIT}
    assert all(sent[header(one.headers, "ce_id")] == one for one in again.outputs), "what comes again is what was sent"
    assert {name: store.rows for name, store in worker.stores.items()} == before
    assert ("Approve", "skipped") in worker.observed


def test_offsets_that_are_given_anew_are_new_commands() -> None:
    """After a power cut took the log's tail, what people send next is silently passed over."""
    worker = Worker()
    lost = decided(worker, records_of([submit(), approve("ann"), *strangers(200)]), 50)
    worker.end = 2
    worker.restart()
    fresh = new_id()
    commands = [submit(request_id=fresh), comment(), approve("cid"), *strangers(100)]
    log = decided(worker, records_of(commands, 2), 20)
    outcomes = {one["command_id"]: one["status"] for one in of_topic(log.outputs, topics.OUTCOMES)}
    assert [outcomes[one.command_id] for one in commands] == ["accepted"] * 3 + ["refused"] * 100
    assert not of_topic(log.outputs, topics.DEAD_LETTERS)
    whole = {header(one.headers, "ce_id"): one for one in lost.outputs + log.outputs}
    assert verify_chains(of_topic(list(whole.values()), topics.AUDIT))[f"partition:{PARTITION}"] == 300
    assert worker.record(fresh).seq == 1 and worker.record().seq == 4


def test_a_command_that_has_no_bytes_becomes_a_dead_letter_and_its_batch_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One command stops its worker at each start, for ever."""
    worker = Worker()
    real = emissions._roles
    monkeypatch.setattr(emissions, "_roles", lambda *asked: ["\ud800"] if asked[0] == "bob" else real(*asked))
    commands = [submit(), approve("bob", command_id=new_id()), approve("ann", command_id=new_id())]
    log = decided(worker, records_of(commands))
    assert [one["status"] for one in of_topic(log.outputs, topics.OUTCOMES)] == ["accepted", "failed", "accepted"]
    assert len(of_topic(log.outputs, topics.DEAD_LETTERS)) == 1
    verify_chains(of_topic(log.outputs, topics.AUDIT))
    assert worker.record().seq == 2


@pytest.mark.parametrize("broken", ["decide", "render"])
def test_a_bug_in_the_middle_of_a_batch_leaves_what_the_batch_did_before(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vote that was answered is gone, because another command of the same moment met a bug."""
    worker, effects = Worker(), Effects()
    records = records_of([submit(), approve("ann"), comment(), approve("cid")])
    for number, record in enumerate(records):
        with monkeypatch.context() as patched:
            if number == 2:
                patched.setattr(agents_requests, broken, lambda *_: 1 / 0)
            worker.shard.handle(record, effects)
    commit(effects, worker.stores)
    outcomes = [one["status"] for one in of_topic(effects.outputs, topics.OUTCOMES)]
    assert outcomes == ["accepted", "accepted", "failed", "accepted"]
    assert worker.record().made.keys() == {
        document(one)["command_id"] for one in effects.outputs if _accepted(one.value)
    }
    verify_chains(of_topic(effects.outputs, topics.AUDIT))
    assert REQUESTS in effects.writes


def _accepted(value: bytes | None) -> bool:
    return value is not None and b'"status":"accepted"' in value


def test_a_long_trace_header_is_not_kept() -> None:
    """One record with a header of a megabyte, written by hand, and the request's record fits into no message."""
    worker = Worker()
    record = written(submit(), 0)
    long = incoming(record.value, 0, key=record.key, headers=[("traceparent", b"0" * 900_000)])
    outputs = worker.handle(long)
    assert len(worker.record().encode()) < 2000
    assert all(header(one.headers, "traceparent") is None for one in outputs)


def test_a_request_can_be_decided_when_it_holds_all_it_can() -> None:
    """A request full of long texts can be neither approved nor taken back."""
    worker = Worker()
    commands: list[CommandBase] = [submit(description="🎉" * 4000)]
    commands += [comment("sam", "🎉" * 4000, command_id=new_id()) for _ in range(40)]
    commands += [approve(who, comment="🎉" * 4000, command_id=new_id()) for who in ("ann", "cid", "eve")]
    for _ in range(450):
        commands += [rollback("eve", command_id=new_id()), approve("fay", command_id=new_id())]
        commands += [rollback("fay", command_id=new_id()), approve("eve", command_id=new_id())]
    commands += [reject("eve", comment="🎉" * 4000, command_id=new_id()) for _ in range(40)]
    commands.append(withdraw(command_id=new_id()))
    log = decided(worker, records_of(commands))
    codes = [one["code"] for one in of_topic(log.outputs, topics.OUTCOMES)]
    assert codes[1] is None and codes[30] == "too-many-events" and codes[41:44] == [None] * 3
    state = worker.record().state
    assert state is not None and state.version >= 999 and codes[-2] is not None
    assert 300_000 < log.largest < LARGEST_RECORD
