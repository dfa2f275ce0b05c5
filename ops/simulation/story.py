"""What happens in a run, written down before it: a list of actions, each with the number that all its choices are drawn from.

A story with actions left out is a story again, and every action that stays draws as it did: so a failing one can be shrunk.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: Longest time between two actions in ms.
LONGEST_PAUSE_MS = 250


@dataclass(frozen=True, slots=True)
class Action:
    """`ms` after the action before, do `name`; `draw` seeds its choices."""

    ms: int
    name: str
    draw: int


@dataclass(frozen=True, slots=True)
class Story:
    """`setup` seeds how large the cluster is, and what is drawn after the last action."""

    setup: int
    actions: tuple[Action, ...]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"setup": self.setup, "actions": [[one.ms, one.name, one.draw] for one in self.actions]}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Story:
        """From what `plain` gave."""
        return cls(plain["setup"], tuple(Action(ms, name, draw) for ms, name, draw in plain["actions"]))


#: (name, weight, whether it is a fault). Each seed draws how often it wants each kind of fault, none included: storms of one
#: kind find what an even mixture does not (Groce et al., "Swarm Testing", 2012).
KINDS: Sequence[tuple[str, float, bool]] = (
    ("command", 30, False),
    ("work", 55, False),
    ("sweep", 6, False),
    ("pass_time", 3, False),
    ("follow", 5, False),
    ("administer", 3, True),
    ("sign_in", 1, False),
    ("burst", 0.4, True),
    ("crash", 1.2, True),
    ("crash_at", 1.8, True),
    ("restart", 6, False),
    ("hand_over", 1.5, True),
    ("zombie", 1.5, True),
    ("skew", 1, True),
    ("poison", 1, True),
    ("flush_disk", 1.5, False),
    ("projector_down", 0.7, True),
    ("projector_up", 3, False),
    ("projector_moved", 0.7, True),
    ("projector_zombie", 0.7, True),
    ("database", 1, True),
    ("rebuild", 0.25, True),
    ("network", 1.2, True),
    ("gateway_restart", 0.5, True),
    ("look", 4, False),
)
_MIXTURE = (0.0, 1.0, 1.0, 2.0)


def draw_story(seed: int, steps: int) -> Story:
    """The story of a seed: `steps` actions."""
    rng = random.Random(seed)  # noqa: S311 - a seeded run is the point
    names = [name for name, _, _ in KINDS]
    weights = [weight * (rng.choice(_MIXTURE) if fault else 1.0) for _, weight, fault in KINDS]
    drawn = rng.choices(names, weights, k=steps)
    return Story(
        rng.getrandbits(48),
        tuple(Action(rng.randint(1, LONGEST_PAUSE_MS), name, rng.getrandbits(48)) for name in drawn),
    )
