"""A proof is made of a log as it lies there, whatever somebody wrote into it. The log is a folder, as `export` writes it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.checkpointer.growth import Growth
from ops.audit import proof
from ops.audit.found import Broken
from ops.audit.prove import Found, find
from ops.audit.source import FolderSource, LogRecord, file_of, line_of
from schemas import topics
from schemas.checkpoints import origin_of
from schemas.notes import VerifierKey
from tests.unit.projector.stories import Story, key_of, value_of

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
KEYS = [VerifierKey(origin_of("here", number), KEY.public_key().public_bytes_raw()) for number in (0, 1)]
STORY = Story(1).submit().approve()
PAIRS = [(key_of(record), value_of(record)) for record in STORY.records]


def log_in(folder: Path, pairs: Sequence[tuple[bytes, bytes]], partition: int = 0) -> Path:
    """A log of one partition with these records, under a checkpoint of `partition`."""
    records = [LogRecord(number, key, value, "athena.audit") for number, (key, value) in enumerate(pairs)]
    growth = Growth("here", partition, KEY, None, 0, len(records))
    for record in records:
        growth.feed(record.offset, record.value)
    signed = growth.checkpoint("2026-11-22T09:30:00.000Z").model_dump_json().encode()
    file_of(folder, topics.AUDIT, 0).write_bytes(b"".join(line_of(record) + b"\n" for record in records))
    line = line_of(LogRecord(0, b"here", signed, "athena.checkpoint"))
    file_of(folder, topics.CHECKPOINTS, 0).write_bytes(line + b"\n")
    return folder


def found_in(folder: Path) -> Found:
    return asyncio.run(find(lambda: FolderSource(folder), STORY.id, KEYS, 0, lambda _what, _count: None))


def test_a_proof_of_a_log_holds(tmp_path: Path) -> None:
    """The other tests here would mean nothing."""
    made = found_in(log_in(tmp_path, [*PAIRS, (b"x", b"{}")]))
    assert proof.check(proof.build(f"request:{STORY.id}", made.note, made.records), KEYS).records == 2


@pytest.mark.parametrize("garbage", [b"", b"no JSON", b"[]", b"{}", b"5"])
def test_garbage_under_the_requests_key_is_named(tmp_path: Path, garbage: bytes) -> None:
    """Whoever can write to the log could keep a request from being proved, by a traceback."""
    folder = log_in(tmp_path, [PAIRS[0], (PAIRS[0][0], garbage), PAIRS[1]])
    with pytest.raises(Broken, match="offset 1 is no audit record"):
        found_in(folder)


def test_the_checkpoint_of_another_partition_is_named(tmp_path: Path) -> None:
    """A proof would name a log that the request is not in."""
    with pytest.raises(Broken, match=r"is of here/athena\.audit/1"):
        found_in(log_in(tmp_path, PAIRS, partition=1))


def test_a_checkpoint_moved_to_another_place_in_the_log_is_named(tmp_path: Path) -> None:
    """The log would be accused of what somebody wrote beside a checkpoint."""
    folder = log_in(tmp_path, [*PAIRS, (b"x", b"{}")])
    file = file_of(folder, topics.CHECKPOINTS, 0)
    moved = file.read_bytes().replace(rb"\"last_offset\":2", rb"\"last_offset\":1")
    assert moved != file.read_bytes()
    file.write_bytes(moved)
    with pytest.raises(Broken, match="says offset 1, but was signed up to offset 2"):
        found_in(folder)
