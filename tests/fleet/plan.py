"""What happens to each phone, made by Hypothesis: the same seed, the same plans."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fleet.line import Fate

Kind = Literal["submit", "resubmit", "withdraw", "approve", "reject", "rollback", "change_of_mind", "broken"]
FATES: tuple[Fate, ...] = ("good", "good", "good", "unsent", "torn", "cut", "cut", "unheard", "unheard")


@dataclass(frozen=True, slots=True)
class Tap:
    """A tap on the screen. `choice` picks among what the screen shows then; `blind`: without naming the version seen."""

    kind: Kind
    choice: int
    blind: bool


@dataclass(frozen=True, slots=True)
class Talk:
    """The app talks to the gateway: up, down, or both. `items`: of a batch at most; `page`: rows at a time.

    `dies_at`: the app is killed at its n-th step from here on, 0: it is not. `by_time`: it asks by `lastSync` and not by cursor.
    """

    way: Literal["up", "down", "both", "down first"]
    fate: Fate
    delay: float
    items: int
    page: int
    dies_at: int
    by_time: bool


@dataclass(frozen=True, slots=True)
class Rest:
    """Offline, in parts of the longest time that the run allows."""

    part: float


Step = Tap | Talk | Rest


@dataclass(frozen=True, slots=True)
class Plan:
    """`skew`: what the device's clock is off, in hours."""

    skew: int
    steps: list[Step] = field(default_factory=list)


_TAPS = st.builds(
    Tap,
    kind=st.sampled_from(
        ("submit", "submit", "submit", "resubmit", "withdraw", "approve", "approve", "approve", "reject", "rollback", "rollback",
         "change_of_mind", "broken")
    ),
    choice=st.integers(0, 2**16),
    blind=st.booleans(),
)  # fmt: skip
_TALKS = st.builds(
    Talk,
    way=st.sampled_from(("up", "down", "both", "both", "down first")),
    fate=st.sampled_from(FATES),
    delay=st.integers(0, 300).map(lambda n: n / 1000),
    items=st.sampled_from((1, 2, 5, 200)),
    page=st.sampled_from((1, 7, 50, 200)),
    dies_at=st.one_of(st.just(0), st.integers(0, 14)),
    by_time=st.booleans(),
)
_RESTS = st.builds(Rest, part=st.integers(0, 100).map(lambda n: n / 100))
_STEPS = st.one_of(_TAPS, _TAPS, _TAPS, _TALKS, _TALKS, _RESTS)


def plans(number: int, devices: int, steps: int) -> list[Plan]:
    """A plan for each device, of so many steps; `number` seeds them all."""
    found: list[Plan] = []

    @seed(number)
    @settings(
        max_examples=devices + 1,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.builds(Plan, skew=st.integers(-24 * 9, 24 * 9), steps=st.lists(_STEPS, min_size=steps, max_size=steps)))
    def collect(plan: Any) -> None:
        found.append(plan)

    collect()
    # The first one is the simplest that there is.
    return [found[1 + place % (len(found) - 1)] for place in range(devices)]
