"""Whoever changes an audit row in the database must be found out."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from ops.audit.found import Broken, Report
from ops.audit.walk import Walk
from schemas.audit import CHAINED, GENESIS, chain_hash, commitments, content_hash

SALT = "ab" * 16
#: What requests.history has of the request r1.
HISTORY = [
    {"id": "r1", "version": seq, "status": "pending_l1", "at": "2026-11-22T09:30:00.000Z", "actor_id": "sam",
     "action": "comment", "level": None, "comment": f"text {seq}", "on_behalf_of": "ann" if seq == 3 else None}
    for seq in (1, 2, 3)
]  # fmt: skip


def chain_of(length: int, entity: str = "request:r1") -> list[dict[str, Any]]:
    rows = []
    previous = GENESIS
    for seq in range(1, length + 1):
        event = {"version": seq, "type": "Commented"} | ({"on_behalf_of": "ann"} if seq == 3 else {})
        personal = {"comment": f"text {seq}", "source_address": "192.0.2.7"}
        record: dict[str, Any] = dict.fromkeys(CHAINED) | {
            "schema_version": 1,
            "entity": entity,
            "seq": seq,
            "request_id": "r1",
            "version": seq,
            "command_id": f"c{seq}",
            "actor_id": "sam",
            "actor_roles": ["sales"],
            "action": "comment",
            "at": "2026-11-22T09:30:00.000Z",
            "outcome": "accepted",
            "correlation_id": "12345678",
            "content": content_hash(event),
            "commitments": commitments(SALT, personal),
            "status_after": "pending_l1",
            "prev_hash": previous,
        }
        previous = chain_hash(record)
        stored = {"commitments": orjson.dumps(record["commitments"]).decode(), "hash": previous}
        rows.append(
            record
            | stored
            | {"event": orjson.dumps(event).decode(), "salt": SALT, "personal": orjson.dumps(personal).decode()}
            | {"partition": 0, "log_offset": seq}
        )
    return rows


def walked(rows: list[dict[str, Any]]) -> Report:
    report = Report()
    walk = Walk(report, {0: 1000})
    try:
        for row in rows:
            walk.step([row])
        walk.end()
        chains = walk.ended()
        states = {id_: chain.events[-1][2] for id_, chain in chains.items()}
        walk.compare(
            chains,
            [{"id": id_, "version": last[0], "status": last[1]} for id_, last in states.items()],
            HISTORY,
        )
    except Broken as found:
        report.first_break = found
    return report


def test_whole_chains_verify() -> None:
    """Every verification would raise a false alarm."""
    assert walked(chain_of(3) + chain_of(2, "user:sam")).as_json() == {
        "ok": True,
        "chains": 2,
        "records": 5,
        "first_break": None,
    }


@pytest.mark.parametrize(
    "name", [name for name in CHAINED if name not in ("seq", "entity", "commitments", "prev_hash")]
)
def test_a_change_of_any_column_is_found(name: str) -> None:
    """A decision could be given to somebody else."""
    rows = chain_of(3)
    rows[1][name] = ["admin"] if name == "actor_roles" else "changed"
    found = walked(rows).first_break
    assert found is not None
    assert (found.entity, found.seq) == ("request:r1", 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [("event", '{"version":2,"type":"Approved"}'), ("event", None), ("event", "no JSON"), ("commitments", "{}"),
     ("personal", '{"comment":"other"}'), ("personal", '{"title":"added"}'), ("personal", "[]"), ("personal", "0"),
     ("personal", "false"), ("personal", "null"), ("personal", "1"), ("commitments", "5"), ("commitments", "[]"),
     ("salt", "cd" * 16), ("hash", "0" * 64),
     ("prev_hash", "0" * 64), ("actor_roles", None)],
)  # fmt: skip
def test_a_change_of_what_hangs_on_a_record_is_found(name: str, value: Any) -> None:
    """A comment could be put into somebody's mouth."""
    rows = chain_of(3)
    rows[1][name] = value
    found = walked(rows).first_break
    assert found is not None
    assert found.seq in (2, 3)


@pytest.mark.parametrize("commitments", ["5", "[]", "null", '"comment"'])
def test_commitments_that_are_no_object_are_found_though_the_hash_fits(commitments: str) -> None:
    """Whoever rewrites a row and its hash could end the verification with a traceback."""
    rows = chain_of(1)
    rows[0] |= {"commitments": commitments, "personal": None, "salt": None}
    rows[0]["hash"] = chain_hash(rows[0] | {"commitments": orjson.loads(commitments)})
    found = walked(rows).first_break
    assert found is not None
    assert found.seq == 1


def test_a_missing_record_is_found_wherever_it_was() -> None:
    """A refusal or a decision could be made to disappear."""
    for gone in range(3):
        rows = chain_of(3)
        del rows[gone]
        assert walked(rows).first_break is not None


def test_an_erased_person_breaks_nothing() -> None:
    """Nobody's data could be erased without breaking the chains."""
    rows = chain_of(3)
    rows[1] |= {"personal": None, "salt": None}
    assert walked(rows).first_break is None


@pytest.mark.parametrize("name", ["version", "status", "at", "actor_id", "action", "level", "comment", "on_behalf_of"])
def test_a_change_of_any_column_of_the_history_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The history that everybody sees could tell another story than the audit log."""
    monkeypatch.setitem(HISTORY[1], name, 9 if name == "version" else "changed")
    found = walked(chain_of(3)).first_break
    assert found is not None
    assert (found.entity, found.seq) == ("request:r1", 2)


def test_what_is_not_applied_yet_is_not_compared() -> None:
    """A rebuild of the read side would look like somebody's tampering."""
    rows = chain_of(3)
    rows[-1]["log_offset"] = 1000
    report = walked(rows[:3])
    assert report.first_break is None
    assert not report.derived
