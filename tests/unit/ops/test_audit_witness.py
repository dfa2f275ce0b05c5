"""What `verify` believes of a published checkpoint record."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.checkpointer.growth import Growth
from ops.audit.found import Broken
from ops.audit.source import LogRecord
from ops.audit.witness import Witness
from schemas.checkpoints import Checkpoint, CheckpointRecord, origin_of
from schemas.notes import VerifierKey, sign

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
ORIGIN = origin_of("here", 0)
KEYS = [VerifierKey(ORIGIN, KEY.public_key().public_bytes_raw())]


def published(**change: object) -> LogRecord:
    """A checkpoint over three records, changed after it was signed."""
    growth = Growth("here", 0, KEY, None, 0, 3)
    for offset in range(3):
        growth.feed(offset, b"%d" % offset)
    record = growth.checkpoint("2026-11-22T09:30:00.000Z").model_copy(update=change)
    return LogRecord(0, None, record.model_dump_json().encode(), None)


def test_a_checkpoint_as_it_was_signed_is_taken() -> None:
    """The other tests here would mean nothing."""
    witness = Witness(0, KEYS)
    witness.publish(published())
    assert witness.published == 3


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"last_offset": 1}, "says offset 1, but was signed up to offset 2"),
        ({"last_offset": 3}, "says offset 3, but was signed up to offset 2"),
        ({"size": 2}, "no checkpoint record"),
        ({"start": 1}, "no checkpoint record"),
        ({"leaves": "A" * 128}, "do not give the root"),
    ],
)
def test_a_field_that_is_not_what_was_signed_is_named(change: dict[str, object], why: str) -> None:
    """Whoever can write to the topic could lead the checkpointer astray, and no check would tell."""
    with pytest.raises(Broken, match=why):
        Witness(0, KEYS).publish(published(**change))


def test_a_checkpoint_that_does_not_sign_its_place_is_named() -> None:
    """Its place in the log could be changed unseen."""
    record = CheckpointRecord.model_validate_json(published().value or b"")
    unsaid = Checkpoint(ORIGIN, 3, record.grown().root()).text()
    with pytest.raises(Broken, match="no line last_offset"):
        Witness(0, KEYS).publish(published(note=sign(unsaid, ORIGIN, KEY)))
