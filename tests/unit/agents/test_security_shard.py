"""Sign-ins and refusals at the door, chained by account."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from agents import security as agents_security
from agents.ports import Output
from agents.security import REMEMBERED_EVENTS, SESSIONS, Chain, SecurityShard
from schemas import topics
from schemas.audit import AuditRecord
from schemas.envelope import header
from tests.unit.agents.harness import MemoryStore, document, feed, incoming, of_topic, verify_chains, work_through
from tests.unit.core.organisation import START, new_id


def event(user_id: str = "ann", **fields: object) -> bytes:
    body = {
        "event_id": new_id(), "action": "login", "outcome": "accepted", "user_id": user_id, "roles": ["manager"],
        "correlation_id": "correlation-1", "source_address": "203.0.113.7", "salt": "ab" * 16,
    }  # fmt: skip
    return orjson.dumps(body | fields)


class Door:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.settled, self.end = 0, 2**62
        self.restart()

    def restart(self) -> None:
        self.shard = SecurityShard(3, self.store, self.settled, self.end)

    def settle(self, offset: int) -> None:
        self.settled = offset
        self.shard.settled(offset)

    def handle(self, value: bytes, offset: int, at: int = 0) -> list[Output]:
        return feed(self.shard, self.store, incoming(value, offset, at=START + at, topic=topics.SECURITY))


def test_each_account_has_its_chain_and_every_chain_verifies() -> None:
    """Somebody deletes a failed login from the log, and nobody can tell."""
    door, log = Door(), []
    for offset, user_id in enumerate(["ann", "bob", "ann", "anonymous", "ann"]):
        door.restart()
        log += door.handle(event(user_id, outcome="refused", code="unauthenticated"), offset, 10 - offset)
    records = of_topic(log, topics.AUDIT)
    assert verify_chains(records) == {"session:ann": 3, "session:bob": 1, "session:anonymous": 1}
    for record in records:
        AuditRecord.model_validate(record)
    assert sorted(one["at"] for one in records if one["entity"] == "session:ann") == [
        one["at"] for one in records if one["entity"] == "session:ann"
    ], "time does not run backwards in a chain"
    assert len({header(one.headers, "ce_id") for one in log}) == len(log)


def test_a_redelivery_repeats_and_the_committed_is_forgotten() -> None:
    """A crash loses a sign-in, or enters it twice."""
    door = Door()
    events = [event(), event("bob"), event()]
    first = [door.handle(value, offset) for offset, value in enumerate(events)]
    door.restart()
    assert [door.handle(value, offset) for offset, value in enumerate(events)] == first
    door.settle(3)
    door.handle(event(), 3)
    assert door.handle(events[2], 2) == []
    assert list(Chain.decode(door.store.rows[b"session:ann"]).kept) == [3]


def test_an_event_that_a_gateway_sends_again_is_chained_once() -> None:
    """A lost acknowledgement shows somebody two sign-ins, one of which was not theirs."""
    door, log = Door(), []
    first, other = event(), event()
    for offset, value in enumerate([first, other, first, other]):
        log += door.handle(value, offset)
        door.restart()
    assert verify_chains(of_topic(log, topics.AUDIT)) == {"session:ann": 2} and len(log) == 2
    assert door.handle(first, 2) == [], "nor does the repeat, redelivered, become anything"
    for offset in range(4, 4 + REMEMBERED_EVENTS):
        log += door.handle(event(), offset)
    assert len(door.handle(first, 100)) == 1, "only the last ones are remembered"


def test_a_flood_on_one_chain_stays_small_and_cheap() -> None:
    """Failed sign-ins of no account bring the log of sign-ins to a stand."""
    door = Door()
    records = [incoming(event("anonymous"), offset, at=START, topic=topics.SECURITY) for offset in range(3000)]
    log = work_through(door.shard, {SESSIONS: door.store}, records, 500)
    assert log.largest < 40_000
    assert verify_chains(of_topic(log.outputs, topics.AUDIT)) == {"session:anonymous": 3000}
    door.settled = 2000
    door.restart()
    again = work_through(door.shard, {SESSIONS: door.store}, records[2000:], 300)
    sent = {header(one.headers, "ce_id"): one for one in log.outputs}
    assert again.outputs and all(sent[header(one.headers, "ce_id")] == one for one in again.outputs)


def test_a_chain_of_the_first_release_goes_on() -> None:
    """After an upgrade sign-ins that were on their way are lost, or the chain breaks."""
    golden = orjson.loads((Path(__file__).parent / "golden" / "session-1.json").read_bytes())
    door = Door()
    door.store.rows[b"session:ann"] = bytes.fromhex(golden["hex"])
    log = [
        output
        for offset, value in enumerate(golden["events"], golden["first_offset"])
        for output in door.handle(value.encode(), offset)
    ]
    assert [(one.value or b"").decode() for one in log] == golden["audit"]
    log += door.handle(event(), 50)
    assert verify_chains(of_topic(log, topics.AUDIT)) == {"session:ann": len(golden["audit"]) + 1}


def test_a_chain_of_a_newer_program_is_not_misread() -> None:
    """A downgrade forks the log of sign-ins."""
    with pytest.raises(ValueError, match="newer"):
        Chain.decode(b"\x03" + bytes(100))


def test_a_dead_letter_of_a_bug_is_repeated_when_its_batch_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash at the wrong moment swallows a sign-in without a word."""
    door, broken = Door(), event()
    door.handle(event(), 0)
    with monkeypatch.context() as patched:
        patched.setattr(agents_security, "canonical", lambda *_: 1 / 0)
        (letter,) = door.handle(broken, 1)
    door.handle(event(), 2)
    door.restart()
    (again,) = door.handle(broken, 1)
    assert again.topic == topics.DEAD_LETTERS and header(again.headers, "ce_id") == header(letter.headers, "ce_id")


@pytest.mark.parametrize("value", [b"", b"{}", event(user_id=""), event(action="Login!"), event(salt="x")])
def test_what_is_no_event_becomes_a_dead_letter(value: bytes) -> None:
    """One bad record stops the log of sign-ins."""
    assert [one.topic for one in Door().handle(value, 0)] == [topics.DEAD_LETTERS]


def test_a_bug_becomes_a_dead_letter_and_leaves_the_chain_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain has a hole that looks like tampering, or the worker never starts again."""
    door = Door()
    log = door.handle(event(), 0)
    with monkeypatch.context() as patched:
        patched.setattr(agents_security, "canonical", lambda *_: 1 / 0)
        (letter,) = door.handle(event(), 1)
    assert "ZeroDivisionError" in document(letter)["trace"]
    log += door.handle(event(), 2)
    assert verify_chains(of_topic(log, topics.AUDIT)) == {"session:ann": 2}


def test_an_event_on_a_partition_that_is_not_its_accounts_is_set_aside() -> None:
    """A record that some tool repeats on another partition makes a second chain of one name: the audit log is forked."""
    door = Door()
    door.shard._owns = lambda user_id: user_id != "ann"
    assert [one.topic for one in door.handle(event(), 0)] == [topics.DEAD_LETTERS]
    assert door.store.rows == {}
