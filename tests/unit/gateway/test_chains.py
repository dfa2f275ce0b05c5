"""Whoever changes an audit row in the database must be found out."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.sql.chains import Chain, Verdict
from schemas.audit import CHAINED, GENESIS, chain_hash, commitments, content_hash

SALT = "ab" * 16


def chain_of(length: int, entity: str = "request:r1") -> list[dict[str, Any]]:
    rows = []
    previous = GENESIS
    for seq in range(1, length + 1):
        event = {"version": seq, "type": "Commented"}
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
            "prev_hash": previous,
        }
        previous = chain_hash(record)
        stored = {"commitments": orjson.dumps(record["commitments"]).decode(), "hash": previous}
        rows.append(
            record
            | stored
            | {"event": orjson.dumps(event).decode(), "salt": SALT, "personal": orjson.dumps(personal).decode()}
        )
    return rows


def walked(rows: list[dict[str, Any]], versions: dict[str, int] | None = None) -> Verdict:
    verdict = Verdict()
    chain = Chain(verdict)
    for row in rows:
        chain.walk([row])
    chain.end()
    chain.compare(versions or {})
    return verdict


def test_whole_chains_verify() -> None:
    """Every verification would raise a false alarm."""
    verdict = walked(chain_of(3) + chain_of(2, "user:sam"), {"r1": 3})
    assert verdict.document() == {"ok": True, "chains": 2, "records": 5, "first_break": None}


@pytest.mark.parametrize(
    "name", [name for name in CHAINED if name not in ("seq", "entity", "commitments", "prev_hash")]
)
def test_a_change_of_any_column_is_found(name: str) -> None:
    """A decision could be given to somebody else."""
    rows = chain_of(3)
    rows[1][name] = ["admin"] if name == "actor_roles" else "changed"
    found = walked(rows).first_break
    assert found is not None
    assert (found["entity"], found["seq"]) == ("request:r1", 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [("event", '{"version":2,"type":"Approved"}'), ("event", None), ("event", "no JSON"), ("commitments", "{}"),
     ("personal", '{"comment":"other"}'), ("personal", '{"title":"added"}'), ("salt", "cd" * 16), ("hash", "0" * 64),
     ("prev_hash", "0" * 64), ("actor_roles", None)],
)  # fmt: skip
def test_a_change_of_what_hangs_on_a_record_is_found(name: str, value: Any) -> None:
    """A comment could be put into somebody's mouth."""
    rows = chain_of(3)
    rows[1][name] = value
    found = walked(rows).first_break
    assert found is not None
    assert found["seq"] in (2, 3)


def test_a_missing_record_is_found_wherever_it_was() -> None:
    """A refusal or a decision could be made to disappear."""
    for gone in range(3):
        rows = chain_of(3)
        del rows[gone]
        assert walked(rows, {"r1": 3}).first_break is not None


def test_an_erased_person_breaks_nothing() -> None:
    """Nobody's data could be erased without breaking the chains."""
    rows = chain_of(3)
    rows[1] |= {"personal": None, "salt": None}
    assert walked(rows, {"r1": 3}).first_break is None
