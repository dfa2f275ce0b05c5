"""Deadlines of waiting levels on a worker: what the sweep sends, who is told, and that it comes again the same after a crash."""

from __future__ import annotations

from typing import Any

import pytest

import agents.requests
import agents.sweep
import tables.record
from agents.requests import WINDOWS
from agents.sweep import REPEAT_AFTER_S, WindowSweep
from schemas import topics
from schemas.catalog import Catalog
from schemas.reference import Delegation
from tests.unit.agents.harness import PARTITION, Worker, document, of_topic, written
from tests.unit.core import organisation as org
from tests.unit.core.organisation import (
    HOUR,
    REQUEST_ID,
    START,
    approve,
    comment,
    escalate,
    new_id,
    remind,
    rollback,
    submit,
)

RULES = {"remind_after": HOUR, "escalate_after": 2 * HOUR}


def a_worker(held: Catalog | None = None, **more: Any) -> Worker:
    worker = Worker(held, org.fixed_rules(**(RULES | more)))
    worker.send(submit())
    return worker


def a_sweep(worker: Worker, clock: Any = lambda: 0.0) -> WindowSweep:
    stores = worker.stores
    return WindowSweep(PARTITION, stores[agents.requests.REQUESTS], stores[WINDOWS], clock)


def sent(sweep: WindowSweep, ms: int) -> list[tuple[str, int]]:
    """(type, version named) of the commands that are due at START + ms."""
    bodies = [document(output) for output in sweep.due(START + ms)]
    return [(body["type"], body.get("opened_version") or body["decision_version"]) for body in bodies]


def told(outputs: list[Any]) -> list[tuple[str, str]]:
    return [(one["template"], one["user_id"]) for one in of_topic(outputs, topics.NOTIFICATIONS)]


def with_delegate() -> Catalog:
    """Gil stands in for Ann during the first hour, and for Cid from then on."""
    held = org.catalog()
    held.put(org.user("gil", "manager"))
    for delegator, begins, ends in (("ann", 0, HOUR), ("cid", HOUR, 9 * HOUR)):
        held.put(
            Delegation(
                id=delegator,
                version=1,
                delegator_id=delegator,
                delegate_id="gil",
                from_ms=START + begins,
                until_ms=START + ends,
            )
        )
    return held


@pytest.mark.parametrize("rebuilt", [False, True])
def test_the_sweep_sends_what_is_due_and_each_once(rebuilt: bool) -> None:
    """Nobody is reminded after a worker was started again, or everybody every half second."""
    worker = a_worker()
    seconds = [0.0]

    def sweep() -> WindowSweep:
        made = a_sweep(worker, lambda: seconds[0])
        if rebuilt:
            worker.stores[WINDOWS].rows.clear()
            assert list(made.rebuild()) == [1]
        return made

    first = sweep()
    assert sent(first, HOUR - 1) == []
    assert sent(first, HOUR) == [("Remind", 1)]
    assert sent(first, HOUR) == []
    seconds[0] += REPEAT_AFTER_S
    assert sent(first, HOUR) == [("Remind", 1)], "it was lost on its way"
    worker.send(remind(1), HOUR)
    second = sweep()
    assert sent(second, 2 * HOUR - 1) == []
    assert sent(second, 2 * HOUR) == [("Escalate", 1)]
    worker.send(escalate(1), 2 * HOUR)
    worker.send(approve("ann"), 3 * HOUR)
    assert sent(sweep(), 4 * HOUR) == [("Remind", 4)]


def test_both_within_one_bucket_are_sent_one_after_the_other() -> None:
    """A level that is escalated a second after the reminder waits until the worker starts again."""
    worker = a_worker(remind_after=1000, escalate_after=1000)
    sweep = a_sweep(worker)
    assert sent(sweep, 1000) == [("Remind", 1)]
    worker.send(remind(1), 1000)
    assert sent(sweep, 1000) == [("Escalate", 1)]
    worker.send(escalate(1), 1001)
    assert sent(sweep, 9000) == []
    assert worker.stores[WINDOWS].rows == {}


def test_the_same_command_again_changes_and_says_nothing() -> None:
    """A sweep of two workers reminds everybody twice."""
    worker = a_worker()
    before = len(worker.log)
    for _ in range(2):
        worker.send(remind(1), HOUR)
    outputs = worker.log[before:]
    assert [one["action"] for one in of_topic(outputs, topics.AUDIT)] == ["remind"]
    assert told(outputs) == [("reminder", "ann"), ("reminder", "bob")]


def test_the_next_levels_pool_is_told_of_an_escalation() -> None:
    """People may decide and do not know it."""
    worker = a_worker()
    assert told(worker.send(escalate(1), 2 * HOUR)) == [("escalated", "cid"), ("escalated", "dee")]
    assert told(worker.send(remind(1), 2 * HOUR)) == [("reminder", user) for user in ("ann", "bob", "cid", "dee")]


def test_a_delegate_is_told_of_tasks_and_the_same_again_after_it_is_over() -> None:
    """A delegate does not know that something waits for them; or a crash makes other messages of the same events."""
    held = with_delegate()
    worker = Worker(held, org.fixed_rules(**RULES))
    commands = [(submit(), 0), (remind(1), HOUR), (escalate(1), 2 * HOUR), (approve("ann"), 2 * HOUR)]
    records = [written(command, offset, START + at) for offset, (command, at) in enumerate(commands)]
    outputs = [worker.handle(record) for record in records]
    assert [told(one) for one in outputs] == [
        [("level-opened", "ann"), ("level-opened", "bob"), ("level-opened", "gil")],
        [("reminder", "ann"), ("reminder", "bob")],
        [("escalated", "cid"), ("escalated", "dee"), ("escalated", "gil")],
        [("level-opened", "cid"), ("level-opened", "dee"), ("level-opened", "gil")],
    ]
    held.apply(b"delegation:ann", None)
    held.apply(b"delegation:cid", None)
    worker.restart()
    assert [worker.handle(record) for record in records] == outputs


def test_a_delegates_vote_is_on_record_and_in_the_answer() -> None:
    """The audit log says that somebody decided who was not asked."""
    worker = a_worker(with_delegate())
    outputs = worker.send(approve("gil"), 5)
    (audit,) = of_topic(outputs, topics.AUDIT)
    assert (audit["actor_id"], audit["event"]["on_behalf_of"]) == ("gil", "ann")
    (vote,) = audit["request"]["route"]["levels"][0]["votes"]
    assert (vote["approver_id"], vote["delegate_id"]) == ("ann", "gil")
    (outcome,) = of_topic(worker.send(approve("gil"), HOUR), topics.OUTCOMES)
    assert (outcome["code"], outcome["request"]["id"]) == ("already-voted", REQUEST_ID), "who voted sees it for ever"


def test_what_a_stranger_is_told_says_nothing_when_the_time_is_over() -> None:
    """A delegation that is over shows a request to somebody."""
    worker = a_worker(with_delegate())
    (outcome,) = of_topic(worker.send(comment("gil", "?"), HOUR - 1), topics.OUTCOMES)
    assert outcome["status"] == "accepted"
    held = with_delegate()
    held.apply(b"delegation:cid", None)
    (outcome,) = of_topic(a_worker(held).send(approve("gil"), HOUR), topics.OUTCOMES)
    assert (outcome["code"], outcome["request"], outcome["version"]) == ("not-found", None, None)


def test_a_request_without_room_is_not_escalated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request's record grows until Kafka does not take it, and the worker cannot go on."""
    worker = a_worker()
    for module in (agents.requests, tables.record):
        monkeypatch.setattr(module, "ESCALATES_BELOW", 10)
    assert worker.send(escalate(1), 2 * HOUR) == []
    due = worker.record().due
    assert due is not None
    assert due.kind == "remind"


def test_an_entry_of_before_a_crash_does_not_name_another_opening() -> None:
    """A level that opened again within one millisecond is never reminded of: the command is about what is no more so."""
    worker = a_worker()
    worker.send(approve("ann"), 0)
    stale = dict(worker.stores[WINDOWS].rows)
    worker.send(rollback("ann"), 0)
    worker.stores[WINDOWS].rows = stale
    sweep = a_sweep(worker)
    assert list(sweep.rebuild()) == [1]
    assert sent(sweep, HOUR) == [("Remind", 3)]


def test_a_sweep_does_not_make_events_of_a_request_full_of_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Monday's reminders keep everybody's votes waiting: 500 requests with 100 comments each took 2.5 s."""
    worker = a_worker()
    worker.send(approve("ann"), 1)
    worker.send(comment("sam"), 2)
    worker.send(rollback("ann"), 3)
    for _ in range(20):
        worker.send(comment("sam"), 3)
    monkeypatch.setattr(tables.record.Record, "decode", lambda _: pytest.fail("the whole record was decoded"))
    sweep = a_sweep(worker)
    assert sent(sweep, HOUR) == []
    assert sent(sweep, HOUR + 3) == [("Remind", 4)]


def test_a_sweep_ends_when_its_time_is_over_and_goes_on_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition with many large requests that are due blocks its worker for seconds."""
    worker, seconds = a_worker(), [0.0]
    names = [REQUEST_ID, *(new_id() for _ in range(9))]
    for name in names[1:]:
        worker.send(submit(request_id=name), 0)

    def clock() -> float:
        seconds[0] += agents.sweep.SWEEP_S / 2.5
        return seconds[0]

    sweep = a_sweep(worker, clock)
    rounds = [sweep.due(START + HOUR) for _ in range(6)]
    assert [len(found) for found in rounds] == [3, 3, 3, 1, 0, 0]
    assert sorted(one.key.decode() for found in rounds for one in found if one.key) == sorted(names)
