"""Rules files for the tests: the documented example, random small ones, and large ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from rules.model import Amount, Rule, When
from schemas.base import LEVELS, Level

EXAMPLE = """\
schema: 1
base_currency: USD
rollback_window: 24h            # 1s … 30d
fx: {EUR: "1.0850", JPY: "0.0066", GBP: "1.27"}   # base units for one unit
rules:                          # first match wins, top to bottom
  - id: small-travel
    when: {category: [travel, meals], amount: {lt: "1000"}}
    levels: [L1]
  - id: emea-hardware
    when: {category: [hardware], region: [emea], amount: {gte: "1000", lt: "50000"}}
    levels: [L1, L2]
    quorum: {L2: 2}
  - id: anything-large
    when: {amount: {gte: "50000"}}
    levels: [L1, L2, L3]
    quorum: {L3: all}
default: {id: default, levels: [L1, L2]}
"""

CATEGORIES = ("travel", 'it\'s "odd"', "9", "ünï")
DEPARTMENTS = (("hq", "global"), ("emea-sales", "emea"), ('a", "region":1', "emea"), ("$m", "$and"))
CURRENCIES = ("USD", "EUR", "JPY", "KWD")
PEOPLE = ("ann", "bob", "cyd", "dan")


class Assigned(NamedTuple):
    category_id: str
    level: str
    approver_id: str
    department_id: str | None = None
    region: str | None = None


def _some(names: Sequence[str]) -> st.SearchStrategy[tuple[str, ...] | None]:
    return st.none() | st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True).map(tuple)


def _amounts(most: int) -> st.SearchStrategy[Amount | None]:
    bound = st.none() | st.integers(0, most)
    found = st.builds(Amount, lt=bound, lte=bound, gt=bound, gte=bound)
    return st.none() | found.filter(lambda band: band.high is None or band.low <= band.high)


def rules(most: int, size: int) -> st.SearchStrategy[tuple[Rule, ...]]:
    """Up to `size` rules with bounds up to `most` minor units; ids are r0, r1, …"""
    whens = st.builds(
        When,
        category=_some(CATEGORIES),
        department=_some([one for one, _ in DEPARTMENTS]),
        region=_some(["global", "emea", "$and", "nowhere"]),
        currency=_some(CURRENCIES),
        amount=_amounts(most),
    )
    levels: st.SearchStrategy[tuple[Level, ...]] = st.lists(st.sampled_from(LEVELS), min_size=1, unique=True).map(
        lambda some: tuple(sorted(some))
    )
    quorums = st.dictionaries(st.sampled_from(LEVELS), st.sampled_from(["any", "all", 1, 2]), max_size=2)
    shapes = st.lists(st.tuples(whens, levels, quorums), max_size=size)
    return shapes.map(
        lambda some: tuple(Rule(f"r{n}", when, level, quorum) for n, (when, level, quorum) in enumerate(some))
    )


def large(kind: str, *, rules: int = 1000, categories: int = 200, departments: int = 50, seed: int = 5) -> str:
    """A file of the size to carry. `spread`: rules for few categories; `bands`: only amounts; `nested`: bounds inside
    bounds, which the library's stack cannot carry in one ruleset; `mixed`: everything at once, worst to check."""
    rnd = random.Random(seed)
    lines = ["schema: 1", "base_currency: USD", 'fx: {EUR: "1.0850", JPY: "0.0066", KWD: "3.2"}', "rules:"]
    for number in range(rules):
        when = []
        if kind in ("spread", "mixed") and rnd.random() < (0.9 if kind == "spread" else 0.5):
            some = rnd.choice([1, 1, 2, 4]) if kind == "spread" else 20
            when.append(f"category: [{', '.join(f'c{rnd.randrange(categories)}' for _ in range(some))}]")
        if kind in ("spread", "mixed") and rnd.random() < 0.4:
            when.append(f"department: [{', '.join(f'd{rnd.randrange(departments)}' for _ in range(5))}]")
        if kind in ("spread", "mixed") and rnd.random() < 0.3:
            when.append(f"region: [r{rnd.randrange(6)}]")
        if kind == "mixed" and rnd.random() < 0.3:
            when.append(f"currency: [{rnd.choice(['EUR', 'JPY', 'USD'])}]")
        low = 100_000 - number * 50 if kind == "nested" else rnd.randrange(100_000)
        upper = "" if kind == "nested" else f', lt: "{low + rnd.randrange(1, 20_000)}"'
        when.append(f'amount: {{gte: "{low}"{upper}}}')
        lines.append(f"  - {{id: r{number}, when: {{{', '.join(when)}}}, levels: [L1, L2]}}")
    return "\n".join([*lines, "default: {id: default, levels: [L1]}"])
