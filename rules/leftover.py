"""Cases that no rule matches, so that only the default catches them."""

from __future__ import annotations

from dataclasses import replace

from rules.cells import bits
from rules.model import Finding
from rules.reach import Place, Reach, Takings
from schemas.money import format_minor

#: Bands and the currencies that leave them, in one group of categories and places.
_Left = tuple[int, tuple[str, ...]]


class Leftover:
    """Collects, group by group: a warning for each set of cases with the same bands, currencies and departments."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._found: dict[tuple[str, ...], dict[_Left, list[Takings]]] = {}

    def add(self, group: list[Takings]) -> None:
        """Look at one group of `Reach.groups`."""
        by_bands: dict[int, list[Takings]] = {}
        for takings in group:
            if takings.left:
                by_bands.setdefault(takings.left, []).append(takings)
        for bands, same in by_bands.items():
            paid = tuple(one.currency for takings in same for one in takings.currencies)
            found = self._found.setdefault(group[0].categories, {})
            found.setdefault((bands, paid), []).append(replace(same[0], taken=()))

    def findings(self) -> list[Finding]:
        """`default-only`: what is left, with equal departments and then equal categories told together."""
        merged: dict[tuple[_Left, tuple[Place, ...]], list[Takings]] = {}
        for groups in self._found.values():
            for left, takings in groups.items():
                places = tuple(place for one in takings for place in one.places)
                merged.setdefault((left, places), []).append(takings[0])
        return [_default_finding(self._reach, *left, places, takings) for (left, places), takings in merged.items()]


def _default_finding(
    reach: Reach, bands: int, paid: tuple[str, ...], places: tuple[Place, ...], takings: list[Takings]
) -> Finding:
    categories = [one for each in takings for one in each.categories]
    where = _some("category", "categories", categories, sum(map(len, reach.categories.values())))
    there = _some("department", "departments", [one[0] for one in places], sum(map(len, reach.places.values())))
    money = (
        "" if len(paid) == len(reach.currencies) else f", paid in {', '.join(paid[:5])}{', …' if len(paid) > 5 else ''}"
    )
    default = reach.file.default
    text = f"Only `{default.id}` catches {where} in {there}{money}: {_ranges(reach, bands)}."
    return Finding.about(default, "default-only", text, error=False, example=reach.case_in(takings[0], bands))


def _some(one: str, many: str, names: list[str], total: int) -> str:
    if len(names) == total:
        return f"every {one}"
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"{one if len(names) == 1 else many} {listed}"


def _ranges(reach: Reach, bands: int) -> str:
    """`below 1000.00 USD, 5000.00 to 9999.99 USD, from 50000.00 USD`."""
    base = reach.file.base_currency
    runs: list[list[int]] = []
    for band in bits(bands):
        if runs and runs[-1][1] == band - 1:
            runs[-1][1] = band
        else:
            runs.append([band, band])
    parts = []
    for first, last in runs[:10]:
        low, high = reach.cells.bounds(first)[0], reach.cells.bounds(last)[1]
        if high is None:
            parts.append(f"from {format_minor(low, base)} {base}" if low else "any amount")
        elif low == 0:
            parts.append(f"below {format_minor(high + 1, base)} {base}")
        else:
            parts.append(f"{format_minor(low, base)} to {format_minor(high, base)} {base}")
    return ", ".join(parts) + (f", and {len(runs) - 10} more bands" if len(runs) > 10 else "")
