"""One partition of commands: whatever arrives, however often, has one effect, one outcome, and the same outputs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest
from aiokafka.partitioner import murmur2

from agents import requests as agents_requests
from agents.misdated import Misdated
from agents.ports import Effects, NotYet
from agents.requests import CHAINS, REQUESTS, WINDOWS
from agents.spread import partition_of
from schemas import topics
from schemas.codes import Code
from schemas.commands import CommandBase
from schemas.envelope import header
from schemas.outcomes import ANSWERS
from tables.record import FORMAT, REMEMBERED_REFUSALS
from tests.unit.agents.harness import (
    PARTITION,
    Worker,
    commit,
    document,
    ids,
    incoming,
    of_topic,
    verify_chains,
    written,
)
from tests.unit.core import organisation as org
from tests.unit.core.organisation import (
    HOUR,
    REQUEST_ID,
    START,
    approve,
    close,
    comment,
    new_id,
    reassign,
    reject,
    rollback,
    submit,
    user,
    withdraw,
)


def outcome(outputs: Any) -> dict[str, Any]:
    (found,) = of_topic(outputs, topics.OUTCOMES)
    return found


def a_life(worker: Worker) -> None:
    worker.send(submit())
    worker.send(approve("ann"), 1)
    worker.send(approve("ann"), 2)
    worker.send(comment(), 3)
    worker.send(approve("cid"), 4)
    worker.send(rollback("cid"), 5)
    worker.send(approve("dee"), 6)
    worker.send(approve("eve"), 7)
    worker.send(close(7), 25 * HOUR)


def test_a_request_lives_from_submit_to_finalized() -> None:
    """Nobody ever gets any money."""
    worker = Worker()
    a_life(worker)
    state = worker.record().state
    assert state is not None and state.status.value == "finalized" and state.version == 8
    assert verify_chains(worker.audit) == {f"request:{REQUEST_ID}": 9}, "eight versions and one refusal"
    assert worker.stores[WINDOWS].rows == {}


# --- repeats -------------------------------------------------------------------------------------------------------------


def test_the_same_command_again_has_the_same_outcome_and_changes_nothing() -> None:
    """A retry after a lost answer files twice, or is told that it failed."""
    worker = Worker()
    command = submit()
    first = outcome(worker.send(command))
    again = worker.send(command)
    assert outcome(again) == first and [one.topic for one in again] == [topics.OUTCOMES]
    assert first["status"] == "accepted" and first["offset"] == 0
    assert worker.record().state is not None and worker.record().seq == 1


def test_each_record_of_a_command_has_an_outcome_that_answers_it() -> None:
    """A POST beside another one under its key is told what became of that one, or waits in vain for its own answer."""
    worker = Worker()
    command = submit()
    broken = worker.handle(incoming(b'{"command_id": "x"}', 0))
    worker.offset = 0
    sent = [broken, worker.send(command), worker.send(command), worker.send(command, title="another thing")]
    worker.settle(4)
    worker.send(comment())
    sent.append(worker.send(command))
    found = [header(one.headers, ANSWERS) for outputs in sent for one in outputs if one.topic == topics.OUTCOMES]
    assert found == ["0", "1", "2", "3", "5"]


def test_the_first_outcome_is_given_after_everything_was_committed_and_the_request_moved_on() -> None:
    """A phone that was offline for a day is shown another answer than the one it missed."""
    worker = Worker()
    filing, refused = submit(), approve("tom")
    first, no = outcome(worker.send(filing)), outcome(worker.send(refused))
    worker.send(approve("ann"))
    worker.settle(3)
    worker.send(comment())
    assert [one.offset for one in worker.record().emissions] == [3]
    worker.restart()
    assert outcome(worker.send(filing)) == first
    assert outcome(worker.send(refused)) == no
    assert no["code"] == "not-found" and no["request"] is None


def test_a_retry_may_come_through_another_gateway_with_other_headers() -> None:
    """A retry is refused because its correlation id or address differs."""
    worker = Worker()
    command = submit()
    first = outcome(worker.send(command))
    again = worker.send(command, correlation_id="correlation-2", source_address="203.0.113.9", salt="ff" * 16)
    assert outcome(again) == first


@pytest.mark.parametrize("committed", [0, 9], ids=["before the commit", "after it"])
def test_the_same_id_with_another_payload_is_refused_and_the_first_outcome_stays(committed: int) -> None:
    """A client that reuses a key by mistake changes what it already has."""
    worker = Worker()
    command = submit()
    first = outcome(worker.send(command))
    worker.send(comment())
    worker.settle(committed)
    worker.send(comment())
    reused = outcome(worker.send(command, amount="1.00"))
    assert (reused["status"], reused["code"]) == ("refused", "idempotency-key-reused")
    other = outcome(worker.send(command, actor_id="tom"))
    assert other["code"] == "idempotency-key-reused" and other["request"] is None, "somebody else's id shows nothing"
    assert outcome(worker.send(command)) == first
    assert outcome(worker.send(command, amount="1.00"))["code"] == "idempotency-key-reused"
    verify_chains(worker.audit)


def test_the_first_refusal_stays_when_its_id_is_reused() -> None:
    """A refused command is accepted in a second try under the same id."""
    worker = Worker()
    worker.send(submit())
    no = approve("ann", expected_version=9)
    first = outcome(worker.send(no))
    assert first["code"] == "stale-version"
    assert outcome(worker.send(no, expected_version=1))["code"] == "idempotency-key-reused"
    worker.settle(9)
    worker.send(comment())
    assert outcome(worker.send(no)) == first


def test_a_redelivery_repeats_every_output_byte_for_byte() -> None:
    """After a crash between state and outputs, a notification, an audit record or an answer is lost for good."""
    worker = Worker()
    commands: list[CommandBase] = [submit(), approve("ann"), approve("tom"), comment(), reassign("L2"), reject("cid")]
    unknown = approve("ann", request_id=new_id())
    records = [written(command, offset, START + offset) for offset, command in enumerate([*commands, unknown])]
    first = [worker.handle(record) for record in records]
    before = {name: dict(store.rows) for name, store in worker.stores.items()}
    for restarted in (False, True):
        if restarted:
            worker.restart()
        assert [worker.handle(record) for record in records] == first
    assert {name: store.rows for name, store in worker.stores.items()} == before


def test_output_ids_are_all_different_and_the_same_in_a_repeat() -> None:
    """A reader that drops repeats drops what it has not seen, or keeps what it has."""
    worker = Worker()
    a_life(worker)
    worker.send(approve("ann", command_id=str(UUID(int=1))))
    first, second = (worker.send(approve("bob", command_id=str(UUID(int=1)))) for _ in "ab")
    assert ids(first) != ids(second), "two refusals of a reused id are two things"
    assert len(set(ids(worker.log))) == len(worker.log)


def test_a_batch_that_is_redelivered_after_half_of_it_was_stored_ends_the_same() -> None:
    """A crash between two tables makes a request answer a command twice, once refused and once accepted."""
    for stored in ((), (CHAINS,), (CHAINS, REQUESTS), (CHAINS, REQUESTS, WINDOWS)):
        worker = Worker()
        early, filing = approve("ann"), submit()
        records = [written(command, offset, START) for offset, command in enumerate([early, filing, approve("ann")])]
        effects = Effects()
        for record in records:
            worker.shard.handle(record, effects)
        commit(Effects(writes={name: dict(effects.rows(name)) for name in stored}), worker.stores)
        worker.restart()
        again = Effects()
        for record in records:
            worker.shard.handle(record, again)
        assert again.outputs == effects.outputs
        commit(again, worker.stores)
        assert worker.record().seq == 2


def test_a_refused_submit_does_not_reserve_the_id() -> None:
    """Somebody who corrects a refused request cannot file it under the id that their phone gave it."""
    worker = Worker()
    assert worker.code(submit(category_id="closed", reason_id="any")) == "category-inactive"
    assert worker.stores[REQUESTS].rows == {}
    assert worker.code(submit()) is None
    assert verify_chains(worker.audit) == {f"partition:{PARTITION}": 1, f"request:{REQUEST_ID}": 1}


def test_a_refused_submit_is_refused_again_after_another_one_succeeded() -> None:
    """The same command has two outcomes."""
    worker = Worker()
    refused = submit(currency="KWD", amount="1.000")
    first = outcome(worker.send(refused))
    worker.send(submit())
    worker.settle(2)
    worker.send(approve("ann", request_id=new_id()))
    worker.restart()
    assert outcome(worker.send(refused)) == first


def test_commands_for_unknown_requests_leave_no_state_and_are_audited_by_partition() -> None:
    """Random ids fill the disk; or somebody tries ids and nobody can see it."""
    worker = Worker()
    for number in range(REMEMBERED_REFUSALS + 10):
        worker.settle(number)
        assert worker.code(approve("ann", request_id=new_id())) == "not-found"
    assert worker.stores[REQUESTS].rows == {} and len(worker.stores[CHAINS].rows) == 1
    assert verify_chains(worker.audit) == {f"partition:{PARTITION}": REMEMBERED_REFUSALS + 10}
    (size,) = [len(value) for value in worker.stores[CHAINS].rows.values()]
    assert size < 32_768


def test_a_request_that_was_pushed_out_of_memory_is_read_from_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large batch decides on an old state, and an acknowledged vote is lost."""
    monkeypatch.setattr(agents_requests, "CACHED_RECORDS", 1)
    worker, effects = Worker(), Effects()
    names = [new_id() for _ in range(3)]
    for offset, name in enumerate(names):
        worker.shard.handle(written(submit(request_id=name), offset), effects)
    for offset, name in enumerate(names, 3):
        worker.shard.handle(written(approve("ann", request_id=name), offset), effects)
    assert [one["version"] for one in of_topic(effects.outputs, topics.OUTCOMES)] == [1, 1, 1, 2, 2, 2]


# --- time and windows ----------------------------------------------------------------------------------------------------


def test_time_never_runs_backwards_within_a_request() -> None:
    """A broker's clock that was set back reopens a window that was closed."""
    worker = Worker()
    worker.send(submit(), 1000)
    worker.send(approve("ann"), 400)
    state = worker.record().state
    assert state is not None and state.updated_at == START + 1000


def test_the_window_index_holds_exactly_the_open_deadlines() -> None:
    """A window is never closed, and money never paid; or it is closed although the decision was taken back."""
    worker = Worker(rules=org.fixed_rules(("L1",)))
    worker.send(submit())
    assert worker.stores[WINDOWS].rows == {}
    worker.send(approve("ann"), 5)
    assert list(worker.stores[WINDOWS].rows.values()) == [b"%d:2" % (START + 5 + 24 * HOUR)]
    worker.send(rollback("ann"), 6)
    assert worker.stores[WINDOWS].rows == {}
    worker.send(reject("ann"), 70_000)
    assert len(worker.stores[WINDOWS].rows) == 1
    worker.send(close(4), 70_000 + 24 * HOUR)
    assert worker.stores[WINDOWS].rows == {}


def test_a_window_that_closes_early_or_twice_leaves_no_trace() -> None:
    """A repeated timer fills the audit log, or finalizes early."""
    worker = Worker(rules=org.fixed_rules(("L1",)))
    worker.send(submit())
    worker.send(approve("ann"))
    closing = close(2)
    assert worker.send(closing, 24 * HOUR - 1) == []
    assert outcome(worker.send(closing, 24 * HOUR))["status"] == "accepted", "the same timer, tried again in time"
    assert worker.send(close(2), 24 * HOUR) == []
    assert worker.send(close(2, request_id=new_id()), 24 * HOUR) == []
    assert worker.observed[-1] == ("CloseWindow", "ignored")


def test_a_command_waits_for_the_reference_data_its_gateway_had() -> None:
    """Who creates a category and files a request in it is told that there is no such category."""
    worker = Worker()
    with pytest.raises(NotYet) as waiting:
        worker.send(submit(reference_offset=4))
    assert waiting.value.offset == 4 and worker.log == []
    worker.catalog.offset = 4
    assert worker.code(submit(reference_offset=4)) is None
    letters = worker.send(approve("ann", reference_offset=666))
    assert [one.topic for one in letters] == [topics.DEAD_LETTERS, topics.OUTCOMES]


# --- what an outcome shows -----------------------------------------------------------------------------------------------


def test_a_stranger_learns_nothing_from_a_refusal() -> None:
    """Somebody learns what colleagues ask money for, or how far it is."""
    worker = Worker()
    worker.send(submit())
    for command in (approve("tom"), comment("tom"), withdraw("tom"), rollback("tom"), submit("tom")):
        found = outcome(worker.send(command))
        assert found["status"] == "refused" and found["request"] is None and found["version"] is None


def test_whoever_has_a_part_sees_the_request_in_a_refusal() -> None:
    """A phone cannot show what it collided with."""
    worker = Worker()
    worker.send(submit())
    worker.send(approve("ann"))
    found = outcome(worker.send(approve("bob", expected_version=1)))
    assert found["code"] == "not-an-approver" or found["code"] == "stale-version"
    assert found["request"]["version"] == 2 and found["version"] == 2
    assert found["detail"]


def test_headers_carry_the_trace_and_the_correlation() -> None:
    """An operator cannot follow a command through the system."""
    worker = Worker()
    record = written(submit(), 0)
    traced = incoming(record.value, 0, key=record.key, headers=[("traceparent", b"00-ab-cd-01")])
    for output in worker.handle(traced):
        assert header(output.headers, "correlation_id") == "correlation-1"
        if output.topic != topics.NOTIFICATIONS:
            assert header(output.headers, "traceparent") == "00-ab-cd-01"


# --- what cannot be processed --------------------------------------------------------------------------------------------

GARBAGE: dict[str, dict[str, Any]] = {
    "amount 1e3": {"amount": "1e3"},
    "amount -5": {"amount": "-5"},
    "amount 0": {"amount": "0"},
    "amount 0.00": {"amount": "0.00"},
    "amount NaN": {"amount": "NaN"},
    "amount a number": {"amount": 5},
    "amount null": {"amount": None},
    "amount of 13 digits": {"amount": "1000000000000"},
    "amount with a leading zero": {"amount": "01"},
    "amount with Arabic digits": {"amount": "١٢"},
    "three decimals of dollars": {"amount": "1.001", "currency": "USD"},
    "decimals of yen": {"amount": "1.5", "currency": "JPY"},
    "currency in small letters": {"currency": "eur"},
    "unknown type": {"type": "Approved"},
    "no type": {"type": None},
    "id that is no id": {"request_id": "1; DROP TABLE requests"},
    "another version of the schema": {"schema_version": 2},
    "unknown field": {"is_admin": True},
    "NUL in the title": {"title": "a\x00b"},
    "blank title": {"title": "  \n"},
    "1 MB of text": {"description": "x" * 1_000_000},
    "actor with a line break": {"actor_id": "sam\n"},
}


@pytest.mark.parametrize("changes", GARBAGE.values(), ids=GARBAGE.keys())
def test_what_is_no_command_becomes_a_dead_letter_and_a_failed_outcome(changes: dict[str, Any]) -> None:
    """Somebody waits for ever for an answer, or one bad record stops everybody's."""
    worker = Worker()
    command = submit()
    letter, failed = worker.send(command, **changes)
    assert letter.topic == topics.DEAD_LETTERS and document(letter)["error"] and document(letter)["trace"] is None
    assert document(failed)["status"] == "failed" and document(failed)["command_id"] == command.command_id
    assert worker.code(command) is None, "failed is not remembered: the command can be sent again, mended"


def test_a_vote_with_control_characters_or_without_its_comment_becomes_a_dead_letter() -> None:
    """A log line is forged, or somebody is rejected without a word."""
    worker = Worker()
    worker.send(submit())
    for command, changes in (
        (approve("ann"), {"comment": "a\x00b"}),
        (reject("ann"), {"comment": " "}),
        (comment(), {"text": ""}),
    ):
        letter, failed = worker.send(command, 0, **changes)
        assert letter.topic == topics.DEAD_LETTERS and document(failed)["status"] == "failed"


@pytest.mark.parametrize(
    "value",
    [None, b"", b"\xff\xfe\x00", b"{", b"[]", b"null", b'"text"', b"{}", b"[" * 100_000, b'{"command_id": 5}', b'{"a":"\\ud800"}'],
    ids=repr,
)  # fmt: skip
def test_bytes_that_are_no_json_object_become_a_dead_letter(value: bytes | None) -> None:
    """One truncated record stops a partition for everybody."""
    worker = Worker()
    outputs = worker.handle(incoming(value, 0, key=b"\xff"))
    assert [one.topic for one in outputs] == [topics.DEAD_LETTERS]
    assert document(outputs[0])["offset"] == 0
    assert worker.handle(incoming(value, 0, key=b"\xff")) == outputs


def test_a_command_under_the_wrong_key_becomes_a_dead_letter() -> None:
    """A request lives in two partitions, with two truths."""
    worker = Worker()
    good = written(submit(), 0)
    for key in (None, b"", new_id().encode(), REQUEST_ID.upper().encode()):
        letter, failed = worker.handle(incoming(good.value, 0, key=key))
        assert letter.topic == topics.DEAD_LETTERS and "key" in document(letter)["error"]
        assert document(failed)["status"] == "failed"


def test_many_errors_in_one_record_cost_little_and_say_little() -> None:
    """A record full of unknown fields keeps a worker busy for minutes."""
    worker = Worker()
    letter, _ = worker.send(submit(), **{f"field_{number}": 1 for number in range(20_000)})
    assert letter.value is not None and len(letter.value) < 1_000_000


def test_a_bug_in_deciding_becomes_a_dead_letter_and_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One command that nobody thought of stops a partition, or leaves a request half changed."""
    worker = Worker()
    worker.send(submit())
    before = dict(worker.stores[REQUESTS].rows)
    broken = approve("ann")
    with monkeypatch.context() as patched:
        patched.setattr(agents_requests, "render", lambda *_: 1 / 0)
        letter, failed = worker.send(broken)
    assert "ZeroDivisionError" in document(letter)["trace"] and document(failed)["status"] == "failed"
    assert worker.stores[REQUESTS].rows == before
    assert worker.observed[-1] == ("bug", "dead-letter")
    assert worker.code(broken) is None, "the same command can be decided once the bug is mended"
    verify_chains(worker.audit)


def test_a_bug_that_raises_a_value_error_keeps_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever mends it sees a sentence and not the place."""
    worker = Worker()

    def broken(*_: Any) -> Any:
        raise ValueError("hole in the log")

    monkeypatch.setattr(agents_requests, "decide", broken)
    letter, _ = worker.send(submit())
    assert "hole in the log" in document(letter)["trace"]


def test_a_dead_letter_is_repeated_when_its_batch_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash at the wrong moment swallows a command without a word: the request's offset is past it already."""
    worker = Worker()
    worker.send(submit())
    broken = written(approve("ann"), 1)
    with monkeypatch.context() as patched:
        patched.setattr(agents_requests, "decide", lambda *_: 1 / 0)
        first = worker.handle(broken)
    worker.handle(written(comment(), 2))
    worker.restart()
    again = worker.handle(broken)
    assert ids(again) == ids(first) and [one.topic for one in again] == [topics.DEAD_LETTERS, topics.OUTCOMES]
    state = worker.record().state
    assert state is not None and state.version == 2, "told to have failed, it must not be decided after all"


def test_a_table_that_cannot_be_read_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken disk refuses every command instead of stopping."""
    worker = Worker()

    def broken(key: bytes) -> bytes | None:
        raise OSError("disk")

    monkeypatch.setattr(worker.stores[REQUESTS], "get", broken)
    with pytest.raises(OSError, match="disk"):
        worker.send(submit())


def test_a_record_of_a_newer_program_ends_the_process() -> None:
    """A downgrade refuses every command on a request that the newer program has touched."""
    worker = Worker()
    worker.send(submit())
    key = REQUEST_ID.encode()
    worker.stores[REQUESTS].rows[key] = bytes((FORMAT + 1,)) + worker.stores[REQUESTS].rows[key][1:]
    worker.restart()
    with pytest.raises(ValueError, match="format"):
        worker.send(approve("ann"))


# --- limits --------------------------------------------------------------------------------------------------------------

LARGEST_RECORD = 1024 * 1024


def test_comments_cannot_outgrow_what_kafka_takes() -> None:
    """Two people with long comments stop a partition: its record no longer fits into a message."""
    worker = Worker()
    worker.send(submit())
    codes = set()
    for number in range(400):
        worker.settle(worker.offset)
        codes.add(worker.code(comment("sam", "漢" * 4000, command_id=new_id()), number))
    assert codes == {None, Code.TOO_MANY_EVENTS.value}
    assert len(worker.record().encode()) < LARGEST_RECORD
    assert worker.code(approve("ann")) is None, "it can still be decided"


def test_the_devices_clock_is_kept_as_evidence() -> None:
    """In a dispute about a rollback tapped offline there is nothing to look at."""
    worker = Worker()
    worker.send(submit())
    worker.send(approve("ann"))
    worker.send(rollback("ann", device_time="2026-05-28T20:00:00Z"), 25 * HOUR)
    worker.send(approve("cid", device_time="2026-05-28T20:00:01Z"))
    late, accepted = worker.audit[-2:]
    assert late["code"] == "window-closed" and late["personal"]["device_time"] == "2026-05-28T20:00:00Z"
    assert accepted["outcome"] == "accepted" and accepted["personal"]["device_time"] == "2026-05-28T20:00:01Z"
    verify_chains(worker.audit)


def test_a_lost_account_is_refused_and_audited_with_its_roles() -> None:
    """An auditor cannot see as what somebody tried."""
    worker = Worker()
    worker.send(submit())
    worker.catalog.put(user("ann", "manager", active=False, version=2))
    assert worker.code(approve("ann", comment="Please")) == "actor-not-allowed"
    assert worker.audit[-1]["actor_roles"] == ["manager"] and worker.audit[-1]["personal"] == {"comment": "Please"}
    assert worker.audit[-1]["status_before"] == worker.audit[-1]["status_after"] == "pending_l1"
    assert orjson.dumps(worker.audit[-1]["event"]) == b"null"


def test_commands_that_come_again_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the group's offsets are lost, two weeks of commands come again: the worker runs out of memory, and again, and again."""
    monkeypatch.setattr(agents_requests, "CACHED_RECORDS", 3)
    worker = Worker()
    commands = [submit(request_id=new_id(), command_id=new_id()) for _ in range(10)]
    for command in commands:
        worker.send(command)
    worker.restart()
    for offset, command in enumerate(commands):
        worker.handle(written(command, offset))
    assert len(worker.shard._cache) == 3


def test_what_was_decided_at_a_wrong_time_gives_its_outputs_again_when_the_clocks_are_right() -> None:
    """A crash between state and outputs, and a clock that was put right: the audit chain would have a hole for ever."""
    worker = Worker()
    record = written(submit(), 0, START + HOUR)
    first = worker.handle(record)
    worker.restart()
    effects = Effects()
    Misdated(worker.shard, START).handle(record, effects)
    assert effects.outputs == first


def test_a_command_on_a_partition_that_is_not_its_own_is_set_aside() -> None:
    """A record that some tool repeats on another partition makes a second chain of one name: the audit log is forked."""
    worker = Worker()
    worker.shard._owns = lambda request_id: request_id != REQUEST_ID
    letter, told = worker.send(submit())
    assert (letter.topic, document(told)["status"]) == (topics.DEAD_LETTERS, "failed")
    assert worker.stores[REQUESTS].rows == {} and worker.code(submit(request_id=new_id(), command_id=new_id())) is None


def test_a_key_belongs_where_every_other_client_puts_it() -> None:
    """Everything that gateways send would be set aside, or chains be split."""
    for length in range(80):
        key = bytes(range(120, 120 + length))
        assert partition_of(key, 12) == (murmur2(key) & 0x7FFFFFFF) % 12
