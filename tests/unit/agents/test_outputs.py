"""What a command puts out: audit records that an auditor's own program verifies, and messages to the right people only."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.outputs import emit
from schemas import topics
from schemas.audit import CHAINED, AuditRecord, canonical
from schemas.outcomes import Notification, Outcome
from tables.record import Record
from tests.unit.agents.harness import Worker, document, ids, of_topic, verify_chains
from tests.unit.core import organisation as org
from tests.unit.core.organisation import (
    HOUR,
    approve,
    close,
    comment,
    reassign,
    reject,
    rollback,
    submit,
    user,
    withdraw,
)

Told = list[tuple[str, str]]

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
KEYS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=10)
VALUES = st.recursive(
    st.none() | st.booleans() | TEXTS | st.integers(-(2**53) + 1, 2**53 - 1),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_canonical_json_is_that_of_an_independent_program(value: dict[str, Any]) -> None:
    """An auditor who verifies with their own tools is told that the log was tampered with."""
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    "text",
    ["\x00\x01\x08\t\n\x0b\f\r\x1f\x7f\x80\x9f", "\u2028\u2029", "€ 🎉 𝒳 \U0010ffff", '"\\/</', "\ufeff\u00e9e\u0301"],
)
def test_odd_characters_are_written_as_rfc_8785_has_them(text: str) -> None:
    """One odd character in a comment breaks a chain for every verifier but ours."""
    assert canonical({"a": text}) == rfc8785.dumps({"a": text})


def several(worker: Worker) -> None:
    worker.send(submit(source_address="2001:db8::1", title="Messestand “Köln” 🎉", description="a\n\tb"))
    worker.send(approve("ann", comment="𝒳 fine", source_address="203.0.113.7"))
    worker.send(approve("tom", comment="me too"))
    worker.send(comment(text="\u2028 odd"))
    worker.send(reassign("L2"))
    worker.send(reject("cid", comment="no"))
    worker.send(rollback("cid"))
    worker.send(approve("ann", request_id=org.new_id(), salt=None, comment="unknown"))
    worker.send(close(6), 25 * HOUR)


def test_an_auditor_can_recompute_every_record_from_the_documentation_alone() -> None:
    """The log proves nothing to anybody outside."""
    worker = Worker()
    several(worker)
    verify_chains(worker.audit)
    for record in worker.audit:
        chained = {name: record[name] for name in CHAINED}
        assert record["hash"] == hashlib.sha256(rfc8785.dumps(chained)).hexdigest()
        if record["event"] is not None:
            assert record["content"] == hashlib.sha256(rfc8785.dumps(record["event"])).hexdigest()
        for name, text in record["personal"].items():
            key = bytes.fromhex(record["salt"])
            wanted = hmac.new(key, name.encode() + b"\0" + text.encode(), hashlib.sha256).hexdigest()
            assert record["commitments"][name] == wanted


def test_an_audit_record_has_exactly_the_fields_of_its_type() -> None:
    """The projector or an auditor's program meets a field that nobody described."""
    worker = Worker()
    several(worker)
    rest = {"hash", "event", "personal", "salt", "request"}
    for record in worker.audit:
        assert set(record) == set(CHAINED) | rest
        AuditRecord.model_validate(record)
    assert set(CHAINED) | rest | {"entity_after"} == set(AuditRecord.model_fields)


def test_no_personal_text_is_hashed_as_it_stands() -> None:
    """A person's texts can never be erased without breaking the chain."""
    worker = Worker()
    several(worker)
    hidden = ["Messestand", "𝒳 fine", "me too", "odd", "unknown", "2001:db8::1", "203.0.113.7", "a\n\tb"]
    for record in worker.audit:
        open_part = canonical({name: record[name] for name in CHAINED} | {"event": record["event"]}).decode()
        assert not [text for text in hidden if text in open_part]
        assert (record["salt"] is None) == (not record["personal"])


def test_outcomes_and_notifications_have_the_fields_of_their_types() -> None:
    """A gateway or a notifier cannot read what a worker says."""
    worker = Worker()
    several(worker)
    for found in of_topic(worker.log, topics.OUTCOMES):
        Outcome.model_validate(found)
    for found in of_topic(worker.log, topics.NOTIFICATIONS):
        Notification.model_validate(found)
        assert set(found) == set(Notification.model_fields)


def test_emitting_twice_and_from_the_stored_bytes_gives_the_same() -> None:
    """A reader after a crash gets a second, different record of the same thing."""
    worker = Worker()
    several(worker)
    record = worker.record()
    again = Record.decode(record.encode())
    for mine, stored in zip(record.emissions, again.emissions, strict=True):
        first, hash_ = emit(record, mine, 3)
        assert emit(record, mine, 3) == (first, hash_)
        assert emit(again, stored, 3) == (first, hash_)
        assert all(output in worker.log for output in first)


def test_every_request_in_outputs_is_the_one_at_that_version() -> None:
    """A repeat shows a later state under an earlier version, and a reader goes backwards."""
    worker = Worker()
    several(worker)
    for record in worker.audit:
        assert (record["request"] is None) == (record["version"] is None)
        if record["request"] is not None:
            assert record["request"]["version"] == record["version"]
            assert record["request"]["status"] == record["status_after"]


# --- who is told ---------------------------------------------------------------------------------------------------------


def told(outputs: Any) -> Told:
    found = of_topic(outputs, topics.NOTIFICATIONS)
    assert len({one["id"] for one in found}) == len(found)
    assert {one["id"] for one in found} == {
        i for i, output in zip(ids(outputs), outputs, strict=True) if output.topic == topics.NOTIFICATIONS
    }
    return sorted((one["template"], one["user_id"]) for one in found)


def opened(*people: str) -> Told:
    return [("level-opened", person) for person in people]


def test_the_open_levels_pool_is_told_of_a_submit_and_of_each_level_that_opens() -> None:
    """An approver does not know that somebody waits for them."""
    worker = Worker()
    assert told(worker.send(submit())) == opened("ann", "bob")
    assert told(worker.send(approve("ann"))) == opened("cid", "dee")
    assert told(worker.send(approve("cid"))) == opened("eve", "fay")


def test_the_requester_is_told_of_the_final_approval_and_of_the_payment() -> None:
    """A requester does not know that the money is there, or believes so too early."""
    worker = Worker(rules=org.fixed_rules(("L1",)))
    worker.send(submit())
    assert told(worker.send(approve("ann"))) == [("approved", "sam")]
    assert told(worker.send(close(2), 24 * HOUR)) == [("finalized", "sam")]


def test_the_requester_is_told_of_a_rejection_and_that_it_is_closed() -> None:
    """A requester waits for what was refused."""
    worker = Worker()
    worker.send(submit())
    assert told(worker.send(reject("ann"))) == [("rejected", "sam")]
    assert told(worker.send(close(2), 24 * HOUR)) == [("closed", "sam")]


def test_a_vote_that_opens_nothing_tells_nobody() -> None:
    """People get used to ignoring messages."""
    worker = Worker(rules=org.fixed_rules(quorum={"L1": 2}))
    worker.send(submit())
    assert told(worker.send(approve("ann"))) == []
    assert told(worker.send(rollback("ann"))) == [("rolled-back", "sam")]


def test_a_rollback_tells_the_requester_those_whose_tasks_it_cancels_and_those_who_have_one_again() -> None:
    """An approver prepares a decision that is no longer theirs to make."""
    worker = Worker()
    worker.send(submit())
    worker.send(approve("ann"))
    assert told(worker.send(rollback("ann"))) == sorted(
        [*opened("ann", "bob"), ("rolled-back", "sam"), ("task-cancelled", "cid"), ("task-cancelled", "dee")]
    )


def test_a_withdrawal_tells_those_who_had_an_open_task() -> None:
    """An approver works on what nobody wants any more."""
    worker = Worker(rules=org.fixed_rules(quorum={"L1": 2}))
    worker.catalog.put(org.assignment("L1", "eve"))
    worker.send(submit())
    worker.send(approve("ann"))
    assert told(worker.send(withdraw())) == [("withdrawn", "bob"), ("withdrawn", "eve")]


def test_a_reassignment_tells_who_lost_a_vote_who_lost_a_task_and_who_got_one() -> None:
    """A vote disappears behind somebody's back."""
    worker = Worker(rules=org.fixed_rules(quorum={"L1": 2}))
    worker.send(submit())
    worker.send(approve("ann"))
    for gone in ("ann", "bob"):
        worker.catalog.apply(f"assignment:travel-L1-{gone}-all".encode(), None)
    worker.catalog.put(user("kim", "manager"))
    for fresh in ("fay", "kim"):
        worker.catalog.put(org.assignment("L1", fresh))
    assert told(worker.send(reassign("L1"))) == sorted(
        [*opened("fay", "kim"), ("task-cancelled", "bob"), ("votes-dropped", "ann")]
    )
    assert told(worker.send(reassign("L2"))) == [], "nothing changed, nobody is told"


def commented(*people: str) -> list[tuple[str, str]]:
    return [("commented", user) for user in people]


def test_a_question_reaches_the_requester_and_its_answer_those_of_the_open_level() -> None:
    """A question is never read, or its answer by everybody but who asked; or one's own words come back to oneself."""
    worker = Worker(rules=org.fixed_rules(quorum={"L1": 2}))
    worker.send(submit())
    assert told(worker.send(comment("ann"))) == commented("sam"), "the others of the pool asked nothing"
    assert told(worker.send(comment("sam"))) == commented("ann", "bob")
    worker.send(approve("ann"))
    assert told(worker.send(comment("sam"))) == commented("ann", "bob"), "who has voted may have asked"
    worker.send(approve("bob"))
    assert told(worker.send(comment("ann"))) == commented("sam"), "who was on it can still ask"
    assert told(worker.send(comment("sam"))) == commented("cid", "dee")


def test_an_answer_after_the_decision_reaches_who_decided() -> None:
    """Whoever rejected never reads why that was wrong, while it could still be rolled back."""
    worker = Worker(rules=org.fixed_rules(quorum={"L1": 2}))
    worker.send(submit())
    assert told(worker.send(comment("sam", "?"))) == commented("ann", "bob")
    worker.send(approve("ann"))
    worker.send(reject("bob", comment="no"))
    assert told(worker.send(comment("sam"))) == commented("ann", "bob")
    assert told(worker.send(comment("bob"))) == commented("sam")


def test_a_word_about_what_was_taken_back_bothers_nobody() -> None:
    """People who never looked at a request hear of it after it is gone."""
    worker = Worker()
    worker.send(submit())
    worker.send(withdraw())
    assert told(worker.send(comment("sam"))) == []
    assert told(worker.send(comment("ann"))) == commented("sam")


def test_messages_carry_no_comment_and_no_description() -> None:
    """A text that was meant for three people goes out by SMS."""
    worker = Worker()
    worker.send(submit(description="secret plan"))
    worker.send(comment("ann", "secret doubt"))
    worker.send(reject("ann", comment="secret reason"))
    for output in worker.log:
        if output.topic == topics.NOTIFICATIONS:
            assert "secret" not in str(document(output)["params"])


def test_a_refusal_tells_nobody() -> None:
    """Somebody can fill colleagues' inboxes by trying."""
    worker = Worker()
    worker.send(submit())
    assert told(worker.send(approve("cid"))) == []
