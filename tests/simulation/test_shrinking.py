"""A failing seed becomes a short story, and the story fails as the seed did."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.simulation.kept import keep, replay
from ops.simulation.run import SeedFailed, StoryFailed, run_seed, run_story
from ops.simulation.shrink import shrink
from ops.simulation.story import draw_story
from tests.simulation.planted import PLANTED


def test_a_failing_seed_is_told_in_a_few_actions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who looks into a failure would have to read hundreds of steps that have nothing to do with it."""
    PLANTED["superseded_not_checked"](monkeypatch)
    with pytest.raises(SeedFailed) as found:
        run_seed(9)
    failed = found.value.failed
    short = shrink(failed, seconds=60)
    assert short.broken.promise == failed.broken.promise
    assert len(short.story.actions) <= len(failed.story.actions) / 4
    path = keep(short, tmp_path, seed=9, steps=120)
    with pytest.raises(StoryFailed) as again:
        replay(path)
    assert (str(again.value.broken), again.value.trace) == (str(short.broken), short.trace)
    monkeypatch.undo()
    replay(path)


def test_a_story_is_the_seeds_run() -> None:
    """What was kept of a failure would be another run than the one that failed."""
    assert run_story(draw_story(7, 120)).digest() == run_seed(7).digest()
