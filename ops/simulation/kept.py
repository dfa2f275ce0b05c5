"""Stories and seeds that once failed, as files: `{"seed", "steps"}` or `{"story"}`, each with what it `found`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ops.simulation.run import StoryFailed, run_seed, run_story
from ops.simulation.story import Story
from ops.simulation.world import World


def keep(failed: StoryFailed, folder: Path, seed: int, steps: int) -> Path:
    """Write the story to a file of its own; its path."""
    words = re.sub(r"[^a-z0-9]+", "-", failed.broken.promise.lower()).strip("-")[:60]
    path = folder / f"{words}-{seed}.json"
    folder.mkdir(parents=True, exist_ok=True)
    body = {
        "found": failed.broken.promise,
        "from": {"seed": seed, "steps": steps},
        "told": failed.trace,
        "story": failed.story.plain(),
    }
    path.write_text(_short_lines(body))
    return path


def replay(path: Path) -> World:
    """Run a kept file. Raises `StoryFailed` or `SeedFailed`."""
    kept = json.loads(path.read_text())
    if "story" in kept:
        return run_story(Story.of(kept["story"]))
    return run_seed(kept["seed"], kept["steps"])


def _short_lines(body: dict[str, Any]) -> str:
    """JSON with one action a line."""
    text = json.dumps(body, indent=1, ensure_ascii=False)
    return re.sub(r"\[\s+(\d+),\s+\"(\w+)\",\s+(\d+)\s+\]", r'[\1, "\2", \3]', text) + "\n"
