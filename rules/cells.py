"""The space of requests as bit masks: which rules can match a category, department, region, currency or amount.

Bit n of a mask of rules is rule n of the file. Amounts fall into bands between the bounds that rules name: band 0
begins at 0 minor units of the base currency, the last one has no end, and no rule tells two amounts of one band apart.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import compress

from rules.model import Rule, RulesFile

_DIGITS = bytes.maketrans(b"01", b"\0\1")


def bits(mask: int) -> Iterator[int]:
    """The positions of the ones in `mask`, lowest first."""
    if mask.bit_count() * 32 < mask.bit_length():
        return _few_bits(mask)
    return compress(range(mask.bit_length()), bin(mask)[:1:-1].encode().translate(_DIGITS))


def _few_bits(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


class Axis:
    """Masks of rules by name, for one of category, department, region and currency."""

    def __init__(self, named: Sequence[tuple[str, ...] | None]) -> None:
        self.other = sum(1 << index for index, names in enumerate(named) if names is None)
        self.by_name: dict[str, int] = {}
        for index, names in enumerate(named):
            for name in names or ():
                self.by_name[name] = self.by_name.get(name, self.other) | 1 << index
        self.codes = {name: code for code, name in enumerate(self.by_name, 1)}

    def mask(self, name: str) -> int:
        """The rules that `name` satisfies: those that name it, and those that leave the key out."""
        return self.by_name.get(name, self.other)

    def code(self, name: str) -> int:
        """A number for each name that a rule mentions, counted from 1; 0 for all others."""
        return self.codes.get(name, 0)


class Cells:
    """All axes of one file. `edges` are the amounts at which a band begins, band 0's zero left out."""

    def __init__(self, file: RulesFile) -> None:
        rules = file.rules
        self.category = Axis([rule.when.category for rule in rules])
        self.department = Axis([rule.when.department for rule in rules])
        self.region = Axis([rule.when.region for rule in rules])
        self.currency = Axis([rule.when.currency for rule in rules])
        found = {edge for rule in rules for edge in _edges(rule) if edge > 0}
        self.edges = sorted(found)

    def band(self, base_minor: int) -> int:
        """The number of the band that holds an amount of the base currency, in minor units."""
        return bisect_right(self.edges, base_minor)

    def bounds(self, band: int) -> tuple[int, int | None]:
        """(first, last) amount of a band, both inside; last is None for the band without an end."""
        return (
            self.edges[band - 1] if band else 0,
            self.edges[band] - 1 if band < len(self.edges) else None,
        )

    def bands_of(self, rule: Rule) -> int:
        """The bands a rule takes, as a mask of bands."""
        low, high = rule.when.bounds
        end = len(self.edges) if high is None else self.band(high)
        return (1 << (end + 1)) - (1 << self.band(low))


class Slices:
    """Amounts halved again and again: slice `s` of depth `d` holds the bands s·2^d to (s+1)·2^d - 1."""

    def __init__(self, file: RulesFile, cells: Cells) -> None:
        starts = [0] * (len(cells.edges) + 2)
        ends = [0] * (len(cells.edges) + 2)
        for index, rule in enumerate(file.rules):
            low, high = rule.when.bounds
            starts[cells.band(low)] |= 1 << index
            ends[(len(cells.edges) if high is None else cells.band(high)) + 1] |= 1 << index
        touching, current = [], 0
        for band in range(len(cells.edges) + 1):
            current = (current & ~ends[band]) | starts[band]
            touching.append(current)
        #: By depth, then slice: (rules that match some amount in the slice, rules that match every amount in it).
        self.depths: list[list[tuple[int, int]]] = [[(mask, mask) for mask in touching]]
        while len(self.depths[-1]) > 1:
            below = self.depths[-1]
            self.depths.append(
                [
                    (below[at][0] | below[at + 1][0], below[at][1] & below[at + 1][1])
                    if at + 1 < len(below)
                    else below[at]
                    for at in range(0, len(below), 2)
                ]
            )

    def narrow(self, mask: int, band: int, few: int) -> int:
        """The rules of `mask` that may decide an amount of `band`: of the widest slice around it that leaves
        at most `few`.

        A rule below one that matches the whole slice cannot decide, and is left out. `few` is at least 1, and that is
        what the narrowest slice, the band alone, leaves.
        """
        found = 0
        for depth in range(len(self.depths) - 1, -1, -1):
            some, every = self.depths[depth][band >> depth]
            found = mask & some
            if whole := found & every:
                found &= 2 * (whole & -whole) - 1
            if found.bit_count() <= few:
                break
        return found


def _edges(rule: Rule) -> tuple[int, int]:
    low, high = rule.when.bounds
    return low, 0 if high is None else high + 1
