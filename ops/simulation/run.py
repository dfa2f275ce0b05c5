"""Runs seeds, and says how to repeat the one that failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from ops.simulation.failure import Broken
from ops.simulation.shards import PARTITIONS
from ops.simulation.story import Story, draw_story
from ops.simulation.world import World
from schemas import topics

STEPS = 120
#: Lines of the trace shown with a failure.
SHOWN = 25
#: Characters shown of what was found.
TOLD = 3000


class StoryFailed(AssertionError):
    """A story broke a promise; `trace` tells what was done until then."""

    def __init__(self, story: Story, broken: Broken, trace: list[str]) -> None:
        self.story = story
        self.broken = broken
        self.trace = trace
        super().__init__(str(broken)[:TOLD] + "\n  " + "\n  ".join(trace[-SHOWN:]))


class SeedFailed(AssertionError):
    """A seed broke a promise; the text says which, and how to see it again."""

    def __init__(self, seed: int, steps: int, failed: StoryFailed) -> None:
        self.seed = seed
        self.steps = steps
        self.failed = failed
        super().__init__(f"seed {seed}: {failed}\nrepeat: athena simulate --seed {seed} --steps {steps} --shrink")


@dataclass(slots=True)
class Report:
    """What the seeds that held did."""

    seeds: int = 0
    steps: int = 0
    commands: int = 0
    events: int = 0
    refusals: int = 0
    audit_records: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, world: World, steps: int) -> None:
        """Count one run."""
        read_side = world.watch.read_side
        self.seeds += 1
        self.steps += steps
        self.commands += sum(world.broker.end(topics.COMMANDS, number) for number in range(PARTITIONS))
        self.events += sum(len(found) for found in read_side.events.values())
        self.refusals += sum(read_side.refused.values())
        self.audit_records += len(world.database.tables.records)
        self.answers += world.done
        self.faults += world.faults

    def merge(self, other: Report) -> None:
        """Count what another process did."""
        for name in ("seeds", "steps", "commands", "events", "refusals", "audit_records"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.answers += other.answers
        self.faults += other.faults

    def facts(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self) | {"answers": dict(self.answers), "faults": dict(self.faults.most_common())}


def run_story(story: Story) -> World:
    """One run. Raises `StoryFailed`."""
    world = World(story)
    try:
        world.run()
    except Broken as broken:
        raise StoryFailed(story, broken, world.trace) from broken
    return world


def run_seed(seed: int, steps: int = STEPS) -> World:
    """One run. Raises `SeedFailed`."""
    try:
        return run_story(draw_story(seed, steps))
    except StoryFailed as failed:
        raise SeedFailed(seed, steps, failed) from failed.broken


def run_seeds(seeds: Iterable[int], steps: int = STEPS) -> Report:
    """Run seed after seed. Raises `SeedFailed` at the first that fails."""
    report = Report()
    for seed in seeds:
        report.add(run_seed(seed, steps), steps)
    return report
