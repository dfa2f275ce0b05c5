"""The record of a request: what it holds comes back from its bytes, and what it forgets is no longer needed."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.commands import CommandBase
from schemas.deadlines import KINDS, Due
from schemas.events import EVENT_LIST, EVENT_TYPES, AnyEvent, Submitted, action_of, written
from schemas.state import Status
from schemas.view import request_view
from tables.event_rows import LAYOUTS
from tables.evolve import APPLIERS, evolve, fold
from tables.record import (
    FORMAT,
    REMEMBERED_REFUSALS,
    Emission,
    Record,
    Refusal,
    due_of,
    due_version_of,
    pending_of,
    seq_of,
)
from tables.windows import BUCKET_S, bucket_start, read_entry, window_key, window_value
from tests.unit.core.core_stories import Story, approved, filed
from tests.unit.core.organisation import (
    HOUR,
    REQUEST_ID,
    START,
    approve,
    comment,
    escalate,
    new_id,
    reassign,
    reject,
    remind,
    rollback,
    withdraw,
)

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))
RECORDS = sorted((Path(__file__).parent / "golden" / "records").glob("*.json"))


def record_of(story: Story) -> Record:
    record = Record(entity=f"request:{REQUEST_ID}", request_id=REQUEST_ID)
    for offset, event in enumerate(story.events):
        record.add_event(record.prepare(event, offset), f"{offset:032x}", offset)
        made = emission(offset, event.command_id, event.version, event=event)
        record.add_emission(made, made.size, "ab" * 32)
    return record


def emission(
    offset: int, command_id: str, version: int, code: str | None = None, event: AnyEvent | None = None
) -> Emission:
    """Of an accepted command with its event, of a refused one with a comment."""
    actor, action, at = ("ann", "approve", START) if event is None else (event.actor_id, action_of(event), event.at)
    return Emission(
        offset, command_id, REQUEST_ID, actor, ["manager"], action, "L1", at, version, code, None, True, offset + 1,
        "0" * 64, "correlation-1", "203.0.113.7", "00" * 16, None if event else "A “comment” 🎉", None,
    )  # fmt: skip


def id_of(number: int) -> str:
    return str(UUID(int=number))


def refusal(number: int) -> Refusal:
    return Refusal(id_of(number), "00" * 16, "not-pending", None, True, 1, number, REQUEST_ID)


def test_a_record_comes_back_from_its_bytes() -> None:
    """After a restart a request differs from what was acknowledged."""
    story = approved().at(1).does(rollback("eve"), comment(text="日本語 \n🎉"), reject("fay"))
    record = record_of(story)
    record.add_refusal(refusal(1))
    record.add_refusal(replace(refusal(2), pointer="/amount", visible=False, request_id=new_id()))
    for number, more in enumerate(
        ({}, {"request_id": new_id(), "visible": False, "pointer": "/a", "traceparent": "00-ab"})
    ):
        refused = replace(emission(9 + number, id_of(number), 7, "not-pending"), **more)
        record.add_emission(refused, refused.size, "cd" * 32)
    record.settled = 3
    again = Record.decode(record.encode())
    assert again.events == record.events
    for field in fields(Record):
        if not field.name.startswith("_"):
            assert getattr(again, field.name) == getattr(record, field.name), field.name
    assert seq_of(record.encode()) == record.seq
    assert again.encode() == record.encode()
    assert Record.decode(again.encode()).encode() == record.encode()


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from((
    approve("ann"), approve("bob"), approve("cid"), approve("eve"), reject("bob"), reject("cid"), rollback("ann"), rollback("bob"),
    rollback("cid"), rollback("eve"), comment(), remind(1), remind(2), remind(3), escalate(1), escalate(2), reassign("L1"),
    reassign("L2"), withdraw(),
))), max_size=14))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_the_version_that_is_due_is_found_without_the_fold(steps: list[tuple[int, CommandBase]]) -> None:
    """A window is never closed, or nobody is reminded: the command names another decision than the one that stands."""
    story, now = filed(remind_after=2, escalate_after=3, window_ms=4), 0
    for wait, command in steps:
        now += wait
        event = story.at(now).tries(command.model_copy(update={"command_id": new_id()})).event
        if event is not None:
            story.events.append(event)
            story.state = evolve(story.state, event, REQUEST_ID)
        record = record_of(story)
        due, data = record.due, record.encode()
        assert due_version_of(data) == (0 if due is None else due.version)


def test_an_empty_chain_comes_back_from_its_bytes() -> None:
    """A partition whose first command was refused cannot be read after a restart."""
    record = Record(entity="partition:3", request_id="")
    record.add_refusal(refusal(1))
    again = Record.decode(record.encode())
    assert (again.state, again.due, again.refusals) == (None, None, record.refusals)


def test_the_header_says_what_time_does_next_and_when() -> None:
    """After an outage a window stays open for ever, since the index is rebuilt from this header alone."""
    slow = {"remind_after": 5 * HOUR, "escalate_after": 6 * HOUR}
    for story, wanted in (
        (filed(), None), (filed().does(approve("ann")), None), (approved(), (24 * HOUR, "close")),
        (filed().at(77).does(reject("ann")), (24 * HOUR + 77, "close")), (filed(**slow), (5 * HOUR, "remind")),
        (filed(**slow).at(6 * HOUR).does(remind(1)), (6 * HOUR, "escalate")),
        (filed(**slow).at(9).does(approve("ann")), (5 * HOUR + 9, "remind")),
    ):  # fmt: skip
        data = record_of(story).encode()
        assert due_of(data) == (None if wanted is None else (START + wanted[0], wanted[1]))
        assert story.state is not None
        assert pending_of(data) is story.state.pending


def test_a_record_of_a_newer_program_is_not_misread() -> None:
    """A downgrade decides on state that it does not understand."""
    data = record_of(filed()).encode()
    assert data[0] == FORMAT
    for wrong in (b"", bytes((FORMAT + 1,)) + data[1:]):
        with pytest.raises(ValueError, match="format"):
            Record.decode(wrong)


def test_the_last_64_refusals_are_remembered() -> None:
    """A phone that repeats a refused tap is told something else the second time; or records grow without end."""
    record = record_of(filed())
    for number in range(REMEMBERED_REFUSALS + 6):
        record.add_refusal(refusal(number))
    assert list(record.refusals) == [id_of(number) for number in range(6, 70)]


def test_what_is_settled_is_forgotten_and_nothing_else() -> None:
    """Outputs that were never sent cannot be repeated; or a record keeps every output for ever."""
    record = record_of(approved())
    record.forget_settled(0)
    assert [one.offset for one in record.emissions] == [0, 1, 2, 3]
    whole = record.unsettled
    record.forget_settled(2)
    assert [one.offset for one in record.emissions] == [2, 3] and record.unsettled == whole // 2
    record.forget_settled(9)
    assert record.emissions == [] and record.unsettled == 0
    record.forget_settled(4)
    assert record.settled == 9, "what a later life knows less of stays known"
    assert len(record.made) == 4, "who made which event is kept for good"


def test_the_state_at_every_version_is_the_fold_up_to_it() -> None:
    """An audit record names a status that the request did not have."""
    story = approved().does(rollback("eve"))
    record = record_of(story)
    for version in range(len(story.events) + 1):
        assert record.state_at(version) == fold(story.events[:version], REQUEST_ID)
        assert Record.decode(record.encode()).state_at(version) == record.state_at(version)


def test_every_event_type_has_an_applier() -> None:
    """A worker dead-letters every command of a new kind."""
    assert set(APPLIERS) | {Submitted} == set(EVENT_TYPES)


def test_the_golden_stories_hold_every_event_type_and_every_status_a_request_ends_in() -> None:
    """A changed applier goes unnoticed because no old event is tried."""
    documents = [orjson.loads(path.read_bytes()) for path in GOLDEN]
    assert {event["type"] for one in documents for event in one["events"]} == {one.__name__ for one in EVENT_TYPES}
    ends = {one["view"]["status"] for one in documents}
    assert {status.value for status in (Status.FINALIZED, Status.CLOSED, Status.WITHDRAWN)} <= ends


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_records_of_every_release_can_be_read(path: Path) -> None:
    """After an upgrade the worker cannot start, or a request differs from what was acknowledged."""
    golden = orjson.loads(path.read_bytes())
    data = bytes.fromhex(golden["hex"])
    assert data[0] == golden["format"]
    record = Record.decode(data)
    again = Record.decode(record.encode())
    for one in (record, again):
        for name in ("entity", "request_id", "offset", "seq", "head"):
            assert getattr(one, name) == golden[name], name
        assert (None if one.state is None else one.state.closes_at) == golden["closes_at"]
        assert (None if one.due is None else [one.due.at, one.due.kind]) == golden.get(
            "due", golden["closes_at"] and [golden["closes_at"], "close"]
        )
        assert orjson.loads(orjson.dumps([written(event) for event in one.events])) == golden["events"]
        assert {id_: list(made) for id_, made in one.made.items()} == golden["made"]
        assert [[getattr(found, name) for name in Refusal.__slots__] for found in one.refusals.values()] == golden[
            "refusals"
        ]
        emissions = [[getattr(found, name) for name in Emission.__slots__] for found in one.emissions]
        place = Emission.__slots__.index("visible")
        for stored in golden["emissions"]:
            stored.extend([None] * (len(Emission.__slots__) - len(stored)))  # what came with a later release
        for found, stored in zip(emissions, golden["emissions"], strict=True):
            # Of an accepted command the first release kept what nobody asks for.
            stored[place] = found[place] = stored[place] or found[Emission.__slots__.index("code")] is None
        assert emissions == golden["emissions"]
        assert (None if one.state is None else orjson.loads(orjson.dumps(request_view(one.state)))) == golden["view"]
        assert seq_of(data) == record.seq
    assert again.encode()[0] == FORMAT


def test_the_samples_are_of_every_format_and_every_layout() -> None:
    """A released layout is changed, and nobody notices before the upgrade."""
    documents = [orjson.loads(path.read_bytes()) for path in RECORDS]
    assert {one["format"] for one in documents} == set(range(1, FORMAT + 1))
    newest = [Record.decode(bytes.fromhex(one["hex"])) for one in documents if one["format"] == FORMAT]
    assert {orjson.loads(row)[0] for record in newest for row in record.rows} == set(LAYOUTS)


def test_an_event_layout_of_a_newer_program_is_not_misread() -> None:
    """A downgrade decides on events that it does not understand."""
    record = record_of(filed())
    record.rows[0] = orjson.dumps([99, *orjson.loads(record.rows[0])[1:]])
    with pytest.raises(ValueError, match="layout 99"):
        Record.decode(record.encode())


def test_a_completed_request_is_small() -> None:
    """A worker whose disk is gone takes minutes to read a million requests back."""
    record = record_of(approved())
    record.forget_settled(4)
    plain_text = len(orjson.dumps([written(event) for event in record.events]))
    assert len(record.encode()) < 0.6 * plain_text


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_old_events_fold_as_they_always_did(path: Path) -> None:
    """After an upgrade a request looks other than it did when it was decided, and the read side cannot be rebuilt."""
    golden = orjson.loads(path.read_bytes())
    events = EVENT_LIST.validate_python(golden["events"])
    state = fold(events, golden["request_id"])
    assert state is not None
    assert orjson.loads(orjson.dumps(request_view(state))) == golden["view"]
    assert state.closes_at == golden["closes_at"]
    assert state.changed_version == golden["changed_version"]
    assert sorted(state.former_approvers) == golden["former_approvers"]
    assert orjson.loads(orjson.dumps([written(event) for event in events])) == golden["events"]


def test_an_event_with_a_field_of_a_later_version_can_be_read() -> None:
    """A worker that is one release behind cannot read a table during a rolling update."""
    golden: dict[str, Any] = orjson.loads(GOLDEN[0].read_bytes())
    golden["events"][0]["something_new"] = 1
    assert fold(EVENT_LIST.validate_python(golden["events"]), golden["request_id"]) is not None


def test_a_request_is_shown_exactly_as_the_api_says() -> None:
    """A client of the documented shape breaks."""
    state = approved().at(3).does(rollback("eve", comment="Hm")).state
    assert state is not None
    view = request_view(state)
    assert list(view) == [
        "id", "version", "status", "title", "description", "amount", "base_amount", "category_id", "reason_id",
        "department_id", "requester_id", "supersedes", "route", "current_level", "created_at", "updated_at",
        "rollback_until", "finalized_at",
    ]  # fmt: skip
    assert view["amount"] == {"amount": "1250.00", "currency": "EUR"}
    assert view["base_amount"] == {"amount": "1356.25", "currency": "USD"}
    assert view["status"] == "pending_l3" and view["current_level"] == "L3"
    assert view["created_at"] == "2026-05-28T20:26:40.000Z" and view["updated_at"] == "2026-05-28T20:26:40.003Z"
    assert view["rollback_until"] == "2026-05-29T20:26:40.000Z" and view["finalized_at"] is None
    assert list(view["route"]) == ["rules_version", "rule_id", "levels"]
    first = view["route"]["levels"][0]
    assert first == {
        "level": "L1",
        "quorum": 1,
        "approvers": ["ann", "bob"],
        "votes": [{"approver_id": "ann", "decision": "approve", "at": "2026-05-28T20:26:40.000Z", "comment": None}],
    }


def test_window_keys_are_in_the_order_of_their_buckets() -> None:
    """The sweep reads past a due window, and a request stays approved for ever."""
    deadlines = [0, 59_999, 60_000, 1_780_000_000_000, 1_780_000_060_000]
    keys = [window_key(deadline, new_id()) for deadline in deadlines]
    assert [key[:8] for key in keys] == sorted(key[:8] for key in keys)
    for deadline in deadlines:
        assert bucket_start(deadline) % BUCKET_S == 0
        assert bucket_start(deadline) * 1000 <= deadline < (bucket_start(deadline) + BUCKET_S) * 1000
        for kind in KINDS:
            due = Due(deadline, kind, 4)
            assert read_entry(window_key(deadline, "id"), window_value(due)) == ("id", due)
        assert read_entry(window_key(deadline, "id"), b"%d:4" % deadline) == ("id", Due(deadline, "close", 4)), (
            "as of old"
        )


def test_a_changed_copy_leaves_the_first_alone() -> None:
    """A vote changes the request that an earlier audit record shows."""
    state = approved().state
    assert state is not None
    copy = state._replace(version=99, former_approvers=frozenset({"ann"}))
    assert copy != state and state == approved().state
    with pytest.raises(AttributeError):
        copy.version = 1  # type: ignore[misc]
