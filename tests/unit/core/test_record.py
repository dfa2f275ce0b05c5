"""The record of a request: what it holds comes back from its bytes, and what it forgets is no longer needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.base import plain
from schemas.events import EVENT_LIST, EVENT_TYPES, Submitted
from schemas.state import Status
from schemas.view import request_view
from tables.evolve import APPLIERS, fold
from tables.record import FORMAT, REMEMBERED_REFUSALS, Emission, Record, Refusal, closes_at_of
from tables.windows import BUCKET_S, bucket_start, read_entry, window_key, window_value
from tests.unit.core.core_stories import Story, approved, filed
from tests.unit.core.organisation import REQUEST_ID, START, approve, comment, new_id, reject, rollback

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))


def record_of(story: Story) -> Record:
    record = Record(entity=f"request:{REQUEST_ID}", request_id=REQUEST_ID)
    for offset, event in enumerate(story.events):
        record.add_event(event, f"{offset:032x}", offset)
        record.emissions.append(emission(offset, event.command_id, event.version))
        record.offset = offset
        record.seq += 1
    record.head = "ab" * 32
    return record


def emission(offset: int, command_id: str, version: int, code: str | None = None) -> Emission:
    return Emission(
        offset, command_id, REQUEST_ID, "ann", ["manager"], "approve", "L1", START, version, code, None, True, offset + 1,
        "0" * 64, "correlation-1", "203.0.113.7", "00" * 16, "A “comment” 🎉", None,
    )  # fmt: skip


def refusal(number: int) -> Refusal:
    return Refusal(f"{number}", "00" * 16, "not-pending", None, True, 1, number, REQUEST_ID)


def test_a_record_comes_back_from_its_bytes() -> None:
    """After a restart a request differs from what was acknowledged."""
    story = approved().at(1).does(rollback("eve"), comment(text="日本語 \n🎉"), reject("fay"))
    record = record_of(story)
    record.add_refusal(refusal(1))
    again = Record.decode(record.encode())
    assert again.events == record.events
    for name in ("entity", "request_id", "made", "refusals", "emissions", "offset", "seq", "head", "state"):
        assert getattr(again, name) == getattr(record, name), name
    assert again.encode() == record.encode()
    assert Record.decode(again.encode()).encode() == record.encode()


def test_an_empty_chain_comes_back_from_its_bytes() -> None:
    """A partition whose first command was refused cannot be read after a restart."""
    record = Record(entity="partition:3", request_id="")
    record.add_refusal(refusal(1))
    again = Record.decode(record.encode())
    assert (again.state, again.closes_at, again.refusals) == (None, None, record.refusals)


def test_the_header_says_when_the_window_closes() -> None:
    """After an outage a window stays open for ever, since the index is rebuilt from this header alone."""
    for story in (filed(), filed().does(approve("ann")), approved(), filed().at(77).does(reject("ann"))):
        data = record_of(story).encode()
        assert story.state is not None
        assert closes_at_of(data) == story.state.closes_at
    assert closes_at_of(record_of(approved()).encode()) is not None


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
    assert list(record.refusals) == [str(number) for number in range(6, 70)]


def test_what_was_committed_is_forgotten_and_nothing_else() -> None:
    """Outputs that were never sent cannot be repeated; or a record keeps every output for ever."""
    record = record_of(approved())
    record.forget_committed(0)
    assert [one.offset for one in record.emissions] == [0, 1, 2, 3]
    record.forget_committed(2)
    assert [one.offset for one in record.emissions] == [2, 3]
    record.forget_committed(9)
    assert record.emissions == []
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
    assert orjson.loads(orjson.dumps([plain(event) for event in events])) == golden["events"]


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
        assert read_entry(window_key(deadline, "id"), window_value(deadline, 4)) == ("id", deadline, 4)
