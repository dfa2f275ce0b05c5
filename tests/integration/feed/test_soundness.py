"""The short form of `python -m tests.feed.soundness`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.feed import soundness
from tests.integration.projector_rig import Rig, servers


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with servers() as found:
        yield found


def test_nobody_misses_or_doubles_anything_whoever_commits_late(rig: Rig) -> None:
    """A phone would never hear of a decision that committed while it was reading."""
    ground = soundness.prepared(1, 3000, 8)
    readers = soundness.crowd(14, 1)
    careless = soundness.Reader(soundness.OWNER, "unsound", 1)
    counts = asyncio.run(soundness.run(rig, ground, [*readers, careless], 1))
    assert ground.updates >= 3000 and counts["rolled back"] > 0
    for reader in readers:
        assert reader.wrong(ground.expected[reader.who]) == (0, 0, 0), (reader.kind, reader.who)
    assert careless.wrong(ground.expected[soundness.OWNER])[0] > 0, "the mistake that this is for was not found"
