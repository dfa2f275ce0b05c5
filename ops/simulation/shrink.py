"""Makes a failing story short: actions are left out as long as the same promise is broken (Zeller's delta debugging)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ops.simulation.run import StoryFailed, run_story
from ops.simulation.story import Action

Tell = Callable[[str], None]


def shrink(failed: StoryFailed, seconds: float, tell: Tell = lambda text: None) -> StoryFailed:
    """The shortest failing story found within `seconds`; every action that is left is needed, if the time was enough."""
    until = time.monotonic() + seconds
    # What came after the failure had no part in it, unless it showed when everything had stopped.
    best = _attempt(failed, failed.story.actions[: len(failed.trace)]) or failed
    parts = 2
    while len(best.story.actions) > 1:
        size = -(-len(best.story.actions) // parts)
        shorter = None
        for start in range(0, len(best.story.actions), size):
            if time.monotonic() > until:
                tell(f"the time is up; {len(best.story.actions)} actions are left")
                return best
            left = best.story.actions[:start] + best.story.actions[start + size :]
            shorter = _attempt(failed, left)
            if shorter is not None:
                break
        if shorter is not None:
            best = shorter
            parts = max(2, parts - 1)
            tell(f"{len(best.story.actions)} of {len(failed.story.actions)} actions are left")
        elif size == 1:
            break
        else:
            parts = min(len(best.story.actions), parts * 2)
    return best


def _attempt(failed: StoryFailed, actions: Sequence[Action]) -> StoryFailed | None:
    """How the story with these actions fails, if it breaks the same promise."""
    if len(actions) > len(failed.story.actions):
        return None
    try:
        run_story(replace(failed.story, actions=tuple(actions)))
    except StoryFailed as again:
        return again if again.broken.promise == failed.broken.promise else None
    return None
