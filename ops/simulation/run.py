"""Runs seeds, and says how to repeat the one that failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from ops.simulation.failure import Broken
from ops.simulation.world import World
from schemas import topics

STEPS = 120
#: Lines of the trace shown with a failure.
SHOWN = 25


class SeedFailed(AssertionError):
    """A seed broke a promise; the text says which, and how to see it again."""

    def __init__(self, seed: int, steps: int, broken: Broken, trace: list[str]) -> None:
        self.seed, self.steps, self.broken = seed, steps, broken
        last = "\n  ".join(trace[-SHOWN:])
        super().__init__(f"seed {seed}: {broken}\nrepeat: athena simulate --seed {seed} --steps {steps}\n  {last}")


@dataclass(slots=True)
class Report:
    """What the seeds that held did."""

    seeds: int = 0
    commands: int = 0
    events: int = 0
    refusals: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def facts(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self) | {"faults": dict(self.faults)}


def run_seed(seed: int, steps: int = STEPS) -> World:
    """One run. Raises `SeedFailed`."""
    world = World(seed)
    try:
        world.run(steps)
    except Broken as broken:
        raise SeedFailed(seed, steps, broken, world.trace) from broken
    return world


def run_seeds(seeds: Iterable[int], steps: int = STEPS) -> Report:
    """Run seed after seed. Raises `SeedFailed` at the first that fails."""
    report = Report()
    for seed in seeds:
        world = run_seed(seed, steps)
        report.seeds += 1
        report.commands += sum(len(rows) for (topic, _), rows in world.broker.logs.items() if topic == topics.COMMANDS)
        report.events += sum(len(found) for found in world.watch.read_side.events.values())
        report.refusals += sum(world.watch.read_side.refused.values())
        report.faults += world.faults
    return report
