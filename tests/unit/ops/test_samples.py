"""Records of every type as version 1 wrote them: they lie in logs that are kept for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from pydantic import TypeAdapter

from schemas import audit, checkpoints, commands, events, outcomes, reference, security
from schemas.notes import VerifierKey

SAMPLES = Path(__file__).parents[2] / "samples"
READERS: dict[str, TypeAdapter[Any]] = {
    "commands": commands.COMMANDS,
    "events": events.EVENTS,
    "reference-commands": reference.REFERENCE_COMMANDS,
    "reference": reference.ENTITIES,
    "security": TypeAdapter(security.SecurityEvent),
    "outcomes": TypeAdapter(outcomes.Outcome),
    "notifications": TypeAdapter(outcomes.Notification),
    "dead-letters": TypeAdapter(outcomes.DeadLetter),
    "audit": TypeAdapter(audit.AuditRecord),
    "checkpoints": TypeAdapter(checkpoints.CheckpointRecord),
}
STORED = sorted(SAMPLES.glob("*.json"))


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.name)
def test_what_an_earlier_version_wrote_can_be_read(path: Path) -> None:
    """Else an upgrade would stop at the first old record."""
    reader = READERS[path.name.split(".v")[0]]
    found = [reader.validate_json(orjson.dumps(sample)) for sample in orjson.loads(path.read_bytes())]
    assert found


def test_every_type_has_a_sample() -> None:
    """Else a new type could change its meaning without anybody noticing."""
    stored: dict[str, set[str]] = {name: set() for name in READERS}
    for path in STORED:
        name = path.name.split(".v")[0]
        for sample in orjson.loads(path.read_bytes()):
            stored[name].add(sample.get("type") or sample.get("kind") or name)
    assert stored["events"] == {one.__name__ for one in events.EVENT_TYPES}
    assert stored["commands"] == {one.__name__ for one in get_args(get_args(commands.Command)[0])}
    assert stored["reference"] == {one.model_fields["kind"].default for one in get_args(reference.Entity)}
    assert stored["reference-commands"] == {"PutEntity", "RemoveEntity"}
    assert all(stored.values())


def test_the_stored_chain_still_verifies() -> None:
    """Else a change of the hashing would break every chain there is."""
    prev, first = audit.GENESIS, None
    for record in orjson.loads((SAMPLES / "audit.v1.json").read_bytes()):
        first = first or record["entity"]
        if record["entity"] != first:
            continue
        assert record["prev_hash"] == prev
        assert audit.chain_hash(record) == record["hash"]
        assert audit.commitments(record["salt"], record["personal"]) == record["commitments"]
        if record["event"] is not None:
            assert audit.content_hash(record["event"]) == record["content"]
        prev = record["hash"]


def test_the_stored_checkpoint_is_still_of_the_stored_records() -> None:
    """Else a change of the leaves would make every checkpoint accuse an honest log."""
    (sample,) = [
        checkpoints.CheckpointRecord.model_validate(one)
        for one in orjson.loads((SAMPLES / "checkpoints.v1.json").read_bytes())
    ]
    records = orjson.loads((SAMPLES / "audit.v1.json").read_bytes())[: sample.size]
    assert sample.leaf_hashes() == [checkpoints.leaf(orjson.dumps(record)) for record in records]
    found = checkpoints.opened(sample.note, [VerifierKey.parse(sample.key)])
    assert (found.size, found.root, found.last_offset) == (sample.size, sample.grown().root(), sample.last_offset)
