"""Reference data has one writer: what must be unique is, what was answered is repeated, and every change is in a chain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from agents import reference as agents_reference
from agents.ports import Effects, Output
from agents.reference import CATALOG, EntityRecord, ReferenceShard
from schemas import topics
from schemas.catalog import Catalog
from schemas.envelope import header
from schemas.outcomes import ANSWERS
from schemas.reference import Rules
from tests.unit.agents.harness import MemoryStore, document, feed, ids, incoming, of_topic, verify_chains, work_through
from tests.unit.core.organisation import START, new_id

RULES = """schema: 1
base_currency: USD
default: {id: default, levels: [L1]}
"""


class Registry:
    """A reference shard on one table; `restart` is a crash with the table kept."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.settled, self.end = 0, 2**62
        self.offset = -1
        self.log: list[Output] = []
        self.restart()
        for id_, body in (
            ("hq", {"kind": "department", "name": "HQ", "region": "emea"}),
            ("root", self.user("root@example.com", ["admin"])),
            ("ann", self.user("ann@example.com", ["manager"])),
            ("travel", {"kind": "category", "name": "Travel"}),
            ("t1", {"kind": "assignment", "category_id": "travel", "level": "L1", "approver_id": "ann"}),
        ):
            assert self.code(self.put(id_, body, actor="system")) is None

    @staticmethod
    def user(email: str, roles: list[str], **more: Any) -> dict[str, Any]:
        return {"kind": "user", "email": email, "name": "Somebody", "roles": roles, "department_id": "hq"} | more

    def restart(self) -> None:
        self.shard = ReferenceShard(self.store, 4, self.settled, self.end)

    def settle(self, offset: int) -> None:
        self.settled = min(offset, self.offset + 1)
        self.shard.settled(self.settled)

    def handle(self, body: dict[str, Any] | bytes, offset: int) -> list[Output]:
        value = body if isinstance(body, bytes) else orjson.dumps(body)
        outputs = feed(
            self.shard, self.store, incoming(value, offset, topic=topics.REFERENCE_COMMANDS, at=START + offset)
        )
        self.log += outputs
        return outputs

    def send(self, body: dict[str, Any] | bytes) -> list[Output]:
        self.offset += 1
        return self.handle(body, self.offset)

    def outcome(self, body: dict[str, Any]) -> dict[str, Any]:
        (found,) = of_topic(self.send(body), topics.OUTCOMES)
        return found

    def code(self, body: dict[str, Any]) -> str | None:
        code: str | None = self.outcome(body)["code"]
        return code

    @staticmethod
    def put(id_: str, body: dict[str, Any], actor: str = "root", **more: Any) -> dict[str, Any]:
        return {
            "type": "PutEntity", "command_id": new_id(), "actor_id": actor, "correlation_id": "correlation-1",
            "entity_id": id_, "body": body,
        } | more  # fmt: skip

    @staticmethod
    def remove(kind: str, id_: str, actor: str = "root", **more: Any) -> dict[str, Any]:
        return {
            "type": "RemoveEntity", "command_id": new_id(), "actor_id": actor, "correlation_id": "correlation-1",
            "kind": kind, "entity_id": id_,
        } | more  # fmt: skip

    def publish(self, text: str = RULES, **more: Any) -> dict[str, Any]:
        return self.put("rules", {"kind": "rules", "yaml": text}, **more)

    @property
    def audit(self) -> list[dict[str, Any]]:
        return of_topic(self.log, topics.AUDIT)

    def contents(self) -> list[dict[str, Any]]:
        return sorted(
            (one.model_dump(mode="json") for one in self.shard.catalog.entities()),
            key=lambda one: (one["kind"], one["id"]),
        )


def test_each_record_of_a_command_has_an_outcome_that_answers_it() -> None:
    """An administrator's call beside another one under its key waits in vain for its own answer."""
    registry = Registry()
    command = registry.put("meals", {"kind": "category", "name": "Meals"})
    first, again = registry.send(command), registry.send(command)
    registry.restart()
    redelivered = registry.handle(command, 5)
    found = [header(one.headers, ANSWERS) for one in first + again + redelivered if one.topic == topics.OUTCOMES]
    assert found == ["5", "6", "5"]


def test_an_address_belongs_to_one_account() -> None:
    """Two people sign in as one."""
    registry = Registry()
    twin = registry.user("ANN@example.com", ["sales"])
    found = registry.outcome(registry.put("ben", twin))
    assert (found["code"], found["pointer"]) == ("email-taken", "/email")
    assert registry.code(registry.put("ann", registry.user("anna@example.com", ["manager"]))) is None
    assert registry.code(registry.put("ben", twin)) is None, "an address that was given up is free"


def test_the_last_administrator_stays() -> None:
    """Nobody can ever change anything again."""
    registry = Registry()
    assert registry.code(registry.remove("user", "root")) == "last-admin"
    for body in (
        registry.user("root@example.com", ["sales"]),
        registry.user("root@example.com", ["admin"], active=False),
    ):
        assert registry.code(registry.put("root", body)) == "last-admin"
    assert registry.code(registry.put("ann", registry.user("ann@example.com", ["admin"]))) is None
    assert registry.code(registry.remove("user", "root")) is None
    assert registry.code(registry.remove("user", "ann", actor="ann")) == "last-admin"


def test_who_says_nothing_of_it_stays_as_active_as_they_are() -> None:
    """A name that is mended lets somebody in who was let go; or its repeat is taken for another command."""
    registry = Registry()

    def renamed(id_: str, **more: Any) -> dict[str, Any]:
        return registry.put(id_, registry.user(f"{id_}@example.com", ["manager"], active=None), **more)

    assert registry.code(registry.remove("user", "ann")) is None
    late = renamed("ann")
    assert registry.outcome(late)["entity"]["active"] is False
    back = registry.put("ann", registry.user("ann@example.com", ["manager"]), expected_version=3)
    assert registry.outcome(back)["entity"]["active"] is True, "commands of before this was known"
    assert registry.outcome(late)["entity"]["version"] == 3, "a repeat is answered as before"
    assert registry.outcome(renamed("ann"))["entity"]["active"] is True
    assert registry.outcome(renamed("new", expected_version=0))["entity"]["active"] is True
    last = registry.put("root", registry.user("root@example.com", ["admin"], active=None))
    assert registry.code(last) is None, "the last administrator may be renamed"


def test_only_administrators_change_reference_data() -> None:
    """An approver makes themselves an administrator."""
    registry = Registry()
    assert (
        registry.code(registry.put("ann", registry.user("ann@example.com", ["admin"]), actor="ann"))
        == "actor-not-allowed"
    )
    assert registry.code(registry.remove("user", "ann", actor="nobody")) == "actor-not-allowed"
    assert registry.audit[-1]["outcome"] == "refused" and registry.audit[-1]["actor_roles"] == []


@pytest.mark.parametrize(
    ("id_", "expected", "code"),
    [
        ("travel", 0, "entity-exists"),
        ("travel", 2, "precondition-failed"),
        ("travel", 1, None),
        ("fresh", 0, None),
        ("fresh", 3, "precondition-failed"),
    ],
)
def test_a_change_names_the_version_it_is_based_on(id_: str, expected: int, code: str | None) -> None:
    """Two administrators overwrite each other without noticing."""
    registry = Registry()
    assert registry.code(registry.put(id_, {"kind": "category", "name": "New"}, expected_version=expected)) == code


def test_what_is_named_must_exist() -> None:
    """An assignment points to nobody, and requests are refused for no visible reason."""
    registry = Registry()
    body = {"kind": "assignment", "category_id": "travel", "level": "L1", "approver_id": "zoe"}
    found = registry.outcome(registry.put("t2", body))
    assert (found["code"], found["pointer"]) == ("unknown-reference", "/approver_id")
    assert registry.code(registry.remove("category", "nope")) == "not-found"


def test_no_two_assignments_say_the_same() -> None:
    """An administrator takes an approver away, and nothing changes: another assignment says the same."""
    registry = Registry()
    body = {"kind": "assignment", "category_id": "travel", "level": "L1", "approver_id": "ann"}
    assert registry.code(registry.put("t2", body)) == "entity-exists"
    assert registry.code(registry.put("t1", body)) is None
    assert registry.code(registry.put("t2", body | {"region": "emea"})) is None
    assert registry.code(registry.put("t2", body)) == "entity-exists"
    assert registry.code(registry.remove("assignment", "t1")) is None
    assert registry.code(registry.put("t2", body)) is None


@pytest.mark.parametrize("kind", ["category", "reason"])
def test_a_change_that_does_not_speak_of_it_brings_nothing_back(kind: str) -> None:
    """A correction of a name opens a category again that was closed."""
    registry = Registry()
    words = {"category": {"name": "One"}, "reason": {"text": "One"}}[kind]

    def active(**fields: Any) -> Any:
        return registry.outcome(registry.put("one", {"kind": kind} | words | fields))["entity"]["active"]

    assert active(active=None) is True
    assert (active(active=False), active(active=None), active(active=True), active(active=None)) == (
        False,
        False,
        True,
        True,
    )


def test_nothing_new_is_given_to_who_left_or_cannot_approve() -> None:
    """An assignment names somebody who will never decide, and requests are refused or wait because of it."""
    registry = Registry()
    assert registry.code(registry.put("ben", registry.user("ben@example.com", ["sales"]))) is None
    body = {"kind": "assignment", "category_id": "travel", "level": "L1", "approver_id": "ben"}
    found = registry.outcome(registry.put("t2", body))
    assert (found["code"], found["pointer"]) == ("approver-inactive", "/approver_id")
    assert registry.code(registry.remove("user", "ann")) is None
    body["approver_id"] = "ann"
    assert registry.code(registry.put("t2", body)) == "approver-inactive"
    assert registry.code(registry.put("t1", body | {"level": "L2"})) is None, "what names her already can be edited"
    assert registry.code(registry.remove("category", "travel")) is None
    reason = {"kind": "reason", "text": "A trip", "category_id": "travel"}
    found = registry.outcome(registry.put("trip", reason))
    assert (found["code"], found["pointer"]) == ("category-inactive", "/category_id")


def test_an_administrator_who_left_changes_nothing_any_more() -> None:
    """Somebody who was let go lets themselves in again, with a command that was on its way."""
    registry = Registry()
    assert registry.code(registry.put("ann", registry.user("ann@example.com", ["admin"]))) is None
    assert registry.code(registry.remove("user", "root", actor="ann")) is None
    back = registry.put("root", registry.user("root@example.com", ["admin"]), actor="root")
    assert registry.code(back) == "actor-not-allowed"
    assert registry.code(registry.remove("user", "ann", actor="root")) == "actor-not-allowed"


def test_an_account_cannot_be_named_like_the_system() -> None:
    """Somebody signs in as the program itself, and is asked for no role any more."""
    registry = Registry()
    letter, failed = registry.send(registry.put("system", registry.user("s@example.com", ["sales"])))
    assert letter.topic == topics.DEAD_LETTERS and document(failed)["status"] == "failed"


def test_rules_are_published_with_what_the_check_found_or_refused_with_it() -> None:
    """A file that nobody could decide by takes effect; or is refused without a reason."""
    registry = Registry()
    broken = registry.outcome(registry.publish("schema: 1\nbase_currency: XXX\n"))
    assert broken["code"] == "rules-invalid" and broken["findings"] and broken["findings"][0]["line"]
    unstaffed = registry.outcome(registry.publish(RULES.replace("[L1]", "[L1, L2]")))
    assert unstaffed["code"] == "rules-invalid" and unstaffed["findings"][0]["severity"] == "error"
    good = registry.outcome(registry.publish(expected_version=0))
    assert good["status"] == "accepted" and good["entity"]["id"] == "1" and "yaml" not in good["entity"]
    assert registry.code(registry.publish(expected_version=0)) is not None
    assert registry.outcome(registry.publish(expected_version=1))["entity"]["version"] == 2
    assert sorted(registry.shard.catalog.rules) == [1, 2]
    published = of_topic(registry.log, topics.REFERENCE)[-1]
    assert Rules.model_validate(published).yaml == RULES
    verify_chains(registry.audit)
    registry.restart()
    assert sorted(registry.shard.catalog.rules) == [1, 2], "every version can be read after a restart"


def test_a_repeat_has_the_first_outcome_and_a_reused_id_is_refused() -> None:
    """A lost answer makes two categories."""
    registry = Registry()
    command = registry.put("food", {"kind": "category", "name": "Food"})
    first = registry.outcome(command)
    registry.settle(99)
    registry.send(registry.put("food", {"kind": "category", "name": "Meals"}))
    registry.restart()
    again = registry.send(command)
    assert [document(one) for one in again] == [first]
    reused = registry.outcome(command | {"body": {"kind": "category", "name": "Other"}})
    assert reused["code"] == "idempotency-key-reused" and reused["entity"] is None
    assert registry.outcome(command) == first
    assert registry.shard.catalog.categories["food"].name == "Meals"


def test_a_redelivery_repeats_every_output_byte_for_byte() -> None:
    """A crash loses a change of reference data, or its audit record."""
    registry = Registry()
    commands = [
        registry.put("food", {"kind": "category", "name": "Food"}),
        registry.remove("assignment", "t1"),
        registry.put("ben", registry.user("ann@example.com", [])),
        registry.publish("nonsense: ["),
        registry.remove("user", "ann"),
    ]
    first = [registry.send(command) for command in commands]
    before = dict(registry.store.rows)
    for restarted in (False, True):
        if restarted:
            registry.restart()
        assert [registry.handle(command, 5 + number) for number, command in enumerate(commands)] == first
    assert registry.store.rows == before


def test_output_ids_differ_even_within_a_millisecond_and_one_correlation() -> None:
    """A reader that drops repeats drops the second of two changes of an import."""
    registry = Registry()
    registry.log.clear()
    for name in ("A", "B"):
        body = {"kind": "category", "name": name}
        registry.offset += 1
        record = incoming(
            orjson.dumps(registry.put("food", body)), registry.offset, at=START, topic=topics.REFERENCE_COMMANDS
        )
        registry.log += feed(registry.shard, registry.store, record)
    command = registry.put("food", {"kind": "category", "name": "C"})
    registry.send(command)
    for name in ("D", "E"):
        registry.send(command | {"body": {"kind": "category", "name": name}})
    assert len(set(ids(registry.log))) == len(registry.log)


def test_the_catalog_rebuilt_from_the_table_equals_the_one_before_and_the_published_one() -> None:
    """After a restart an address can be taken twice; or a gateway shows other data than decides."""
    registry = Registry()
    registry.send(registry.publish())
    registry.send(registry.put("ann", registry.user("anna@example.com", ["manager", "sales"], phone="+49301234567")))
    registry.send(registry.remove("category", "travel"))
    registry.send(registry.remove("assignment", "t1"))
    registry.send(registry.put("ben", registry.user("ann@example.com", ["sales"])))
    before, addresses = registry.contents(), dict(registry.shard.catalog.users_by_email)
    registry.restart()
    assert registry.contents() == before and registry.shard.catalog.users_by_email == addresses
    assert registry.shard.catalog.newest_rules_version == 1
    follower = Catalog()
    for output in registry.log:
        if output.topic == topics.REFERENCE:
            assert output.key is not None and output.partition == 0
            follower.apply(output.key, output.value)
    found = sorted(
        (one.model_dump(mode="json") for one in follower.entities()), key=lambda one: (one["kind"], one["id"])
    )
    assert found == before


def test_every_change_is_in_the_chain_of_its_entity() -> None:
    """Who made somebody an approver cannot be found out."""
    registry = Registry()
    registry.send(
        registry.put("ann", registry.user("ann@example.com", ["sales"]), source_address="203.0.113.7", salt="ab" * 16)
    )
    registry.send(registry.remove("user", "ann"))
    registry.send(registry.publish())
    registry.send(registry.publish("bad"))
    assert verify_chains(registry.audit) == {
        "department:hq": 1, "user:root": 1, "user:ann": 3, "category:travel": 1, "assignment:t1": 1, "rules": 2,
    }  # fmt: skip
    changed, removed = registry.audit[-4:-2]
    assert changed["action"] == "user-changed" and changed["personal"] == {"source_address": "203.0.113.7"}
    assert removed["status_before"] == "active" and removed["status_after"] == "inactive"


def test_who_gives_up_a_role_is_audited_with_the_one_they_had() -> None:
    """The log says that somebody without the right changed an account."""
    registry = Registry()
    registry.send(registry.put("ann", registry.user("ann@example.com", ["admin"])))
    registry.send(registry.put("ann", registry.user("ann@example.com", ["sales"]), actor="ann"))
    assert registry.audit[-1]["actor_roles"] == ["admin"]


def test_a_retry_that_is_redelivered_after_a_later_change_is_still_answered() -> None:
    """Somebody who repeats after a lost answer waits for ever."""
    registry = Registry()
    command = registry.put("food", {"kind": "category", "name": "Food"})
    registry.send(command)
    first = registry.send(command)
    retry = registry.offset
    registry.send(registry.put("food", {"kind": "category", "name": "Meals"}))
    registry.restart()
    assert registry.handle(command, retry) == first


@pytest.mark.parametrize(
    "value", [b"", b"{", b"[]", b'{"type":"PutEntity"}', b"\xff", b'{"type":"Drop","command_id":5}']
)
def test_what_is_no_command_becomes_a_dead_letter(value: bytes) -> None:
    """One bad record stops the administration."""
    registry = Registry()
    assert [one.topic for one in registry.send(value)] == [topics.DEAD_LETTERS]


def test_a_bug_becomes_a_dead_letter_and_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rules file that the check stumbles over stops the worker again and again."""
    registry = Registry()
    command = registry.put("travel", {"kind": "category", "name": "Trips"})
    before, rows = registry.contents(), dict(registry.store.rows)
    for broken in ("decide_reference", "audit_row"):
        with monkeypatch.context() as patched:
            patched.setattr(agents_reference, broken, lambda *_: 1 / 0)
            letter, failed = registry.send(command)
        assert "ZeroDivisionError" in document(letter)["trace"] and document(failed)["status"] == "failed"
        assert registry.contents() == before and registry.store.rows == rows
    assert registry.outcome(command)["version"] == 2
    verify_chains(registry.audit)


def test_the_largest_rules_file_fits_into_a_message() -> None:
    """An administrator publishes a long file, and the worker can never write it and never start again."""
    registry = Registry()
    line = '# "quoted" comment\n'
    text = RULES + line * ((1024 * 1024 - len(RULES)) // len(line))
    outputs = registry.send(registry.publish(text))
    assert of_topic(outputs, topics.OUTCOMES)[0]["status"] == "accepted"
    largest = max(len(value) for value in registry.store.rows.values())
    assert largest < 4 * 1024 * 1024, f"a table record of {largest} bytes"
    assert max(len(output.value or b"") for output in outputs) < 4 * 1024 * 1024


def test_versions_go_on_after_an_assignment_was_deleted_and_made_again() -> None:
    """Whoever holds the ETag of the deleted one overwrites the new one; and a reader takes the new one for an older version."""
    registry = Registry()
    body = {"kind": "assignment", "category_id": "travel", "level": "L1", "approver_id": "ann"}
    assert registry.outcome(registry.put("t1", body))["version"] == 2
    for expected in (3, 4):
        registry.send(registry.remove("assignment", "t1"))
        registry.restart()
        assert registry.outcome(registry.put("t1", body, expected_version=0))["version"] == expected
    assert registry.code(registry.put("t1", body, expected_version=1)) == "precondition-failed"


def test_the_table_of_the_first_release_is_read_on() -> None:
    """After an upgrade an administrator's last commands are lost, or versions begin anew."""
    golden = orjson.loads((Path(__file__).parent / "golden" / "catalog-1.json").read_bytes())
    registry = Registry()
    registry.store.rows = {key.encode(): value.encode() for key, value in golden["rows"].items()}
    registry.restart()
    outputs = [one for offset, body in enumerate(golden["commands"]) for one in registry.handle(body.encode(), offset)]
    # Of an entity that goes through several versions only the newest is shown again on `athena.reference`.
    shown = [[one.topic, (one.key or b"").decode(), one.value and one.value.decode(), one.partition] for one in outputs]
    assert all(one in golden["outputs"] for one in shown)
    assert [one for one in shown if one[0] != topics.REFERENCE] == [
        one for one in golden["outputs"] if one[0] != topics.REFERENCE
    ]
    registry.offset = len(golden["commands"])
    body = {"kind": "assignment", "category_id": "travel", "level": "L1", "approver_id": "ann"}
    again = registry.outcome(registry.put("t1", body, actor="system"))
    assert again["version"] > 3, "not below the last one before it was removed"


def test_what_is_kept_of_an_entity_is_bounded_and_goes_once_it_is_settled() -> None:
    """An import that changes one entity thousands of times bursts the message; or memory grows with every account."""
    registry = Registry()
    first, noise = registry.offset + 1, "".join(f"{number * 7919 % 10007} " for number in range(30_000))
    bodies = [registry.publish(RULES + f"# {number} {noise}\n") for number in range(12)]
    records = [
        incoming(orjson.dumps(body), offset, topic=topics.REFERENCE_COMMANDS, at=START + offset)
        for offset, body in enumerate(bodies, first)
    ]
    log = work_through(registry.shard, {CATALOG: registry.store}, records, 500)
    assert log.largest < 2 * 1024 * 1024
    assert [one["status"] for one in of_topic(log.outputs, topics.OUTCOMES)] == ["accepted"] * 12
    registry.offset += len(bodies)
    registry.settle(registry.offset + 1)
    registry.send(registry.publish())
    kept = EntityRecord.decode(registry.store.rows[b"rules"]).kept
    assert [offset for offset, _ in kept] == [registry.offset]


def test_entities_that_were_let_go_of_are_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many accounts a batch decides on an old state, or the worker holds every account's last answers in memory."""
    monkeypatch.setattr(agents_reference, "CACHED_ENTITIES", 2)
    registry = Registry()
    commands = [
        registry.put(f"c{number % 5}", {"kind": "category", "name": f"C{number}"}, actor="root") for number in range(20)
    ]
    records = [
        incoming(orjson.dumps(body), offset, topic=topics.REFERENCE_COMMANDS, at=START + offset)
        for offset, body in enumerate(commands, registry.offset + 1)
    ]
    log = work_through(registry.shard, {CATALOG: registry.store}, records, 7)
    versions = [one["version"] for one in of_topic(log.outputs, topics.OUTCOMES)]
    assert versions == [number // 5 + 1 for number in range(20)]
    verify_chains(registry.audit + of_topic(log.outputs, topics.AUDIT))
    assert len(registry.shard._records) == 2


def test_a_command_at_an_offset_that_is_given_anew_is_decided() -> None:
    """A power cut took the end of the log: what an administrator sends next would be answered with what was lost."""
    registry = Registry()
    registry.send(registry.publish())
    lost, registry.end = registry.offset, registry.offset
    registry.restart()
    again = registry.publish(RULES + "# more\n")
    (found,) = of_topic(registry.handle(again, lost), topics.OUTCOMES)
    assert (found["command_id"], found["version"]) == (again["command_id"], 2)


@pytest.mark.parametrize("first", ["accepted", "refused"])
def test_rules_of_one_batch_that_was_cut_off_anywhere_are_all_there_after_it_came_again(first: str) -> None:
    """The worker would publish rules that its own table does not have, and does not have for ever."""
    registry = Registry()
    bodies = [
        registry.publish(RULES if first == "accepted" else "schema: 9"),
        *(registry.publish(RULES + more) for more in ("# 2\n", "# 3\n")),
    ]
    records = [
        incoming(orjson.dumps(body), offset, topic=topics.REFERENCE_COMMANDS, at=START + offset)
        for offset, body in enumerate(bodies, registry.offset + 1)
    ]
    effects = Effects()
    for record in records:
        registry.shard.handle(record, effects)
    wanted, rows = registry.contents(), list(effects.rows(CATALOG).items())
    before = dict(registry.store.rows)
    for cut in range(len(rows) + 1):
        registry.store.rows = dict(before)
        registry.store.apply(dict(rows[:cut]), 0)
        registry.restart()
        for record in records:
            feed(registry.shard, registry.store, record)
        assert registry.contents() == wanted, f"after {cut} of {len(rows)} rows"
