"""Which rule takes which cases: the whole space of category × department × currency × amount, exactly.

Equal categories, departments and currencies (those that the same rules name) are walked once. A department brings its
region with it, so no case is counted that no request can be. Amounts are bands as in `cells`, and of those only the
bands that some amount of the currency really converts into: at a rate of 100 no request lands between 1.00 and 1.99.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from rules.cells import Cells, bits
from rules.model import Rule, RulesFile
from schemas.money import format_minor, max_minor, ratio

Place = tuple[str, str]
T = TypeVar("T")


class Converted:
    """The amounts of one currency as amounts of the base currency."""

    def __init__(self, file: RulesFile, currency: str) -> None:
        rate = file.rate(currency)
        if rate is None:
            raise ValueError(f"the rules file has no rate for {currency}")
        self.currency = currency
        self._numerator, self._denominator = ratio(currency, file.base_currency, rate)
        self._max = max_minor(currency)

    def base(self, minor: int) -> int:
        """`minor` units of this currency in those of the base, rounded half up."""
        return (2 * minor * self._numerator + self._denominator) // (2 * self._denominator)

    @property
    def largest(self) -> int:
        """What the largest amount a request can name comes to, in minor units of the base."""
        return self.base(self._max)

    @property
    def most(self) -> str:
        """The largest amount a request can name, as text."""
        return format_minor(self._max, self.currency)

    def smallest_in(self, low: int, high: int | None) -> int | None:
        """The smallest amount, in minor units of this currency, that converts into low..high; None if there is none."""
        least = max(1, -(-self._denominator * (2 * low - 1) // (2 * self._numerator)))
        return least if least <= self._max and (high is None or self.base(least) <= high) else None


@dataclass(frozen=True, slots=True)
class Takings:
    """What happens to the cases of one group of equal categories, places and currencies: each rule that takes some of
    them with the bands it takes, in file order, and the bands that are left for the default."""

    categories: tuple[str, ...]
    places: tuple[Place, ...]
    currencies: tuple[Converted, ...]
    #: The bands this is about: those that amounts of these currencies convert into.
    bands: int
    taken: tuple[tuple[int, int], ...]
    left: int


class Reach:
    """All takings of a file, for the categories (ids) and places (department id, region) there are."""

    def __init__(self, file: RulesFile, categories: Iterable[str], places: Iterable[Place]) -> None:
        self.file = file
        self.cells = cells = Cells(file)
        self.bands = [cells.bands_of(rule) for rule in file.rules]
        self.currencies = [Converted(file, code) for code in file.currencies]
        self.attained = {one.currency: self._attained(one) for one in self.currencies}
        self.categories = _grouped((cells.category.mask(one), one) for one in categories)
        self.places = _grouped((cells.department.mask(one[0]) & cells.region.mask(one[1]), one) for one in places)
        self._paid = _grouped((cells.currency.mask(one.currency), one) for one in self.currencies)
        #: The rules that take at least one case, as far as `groups` has gone.
        self.reached = 0

    def groups(self) -> Iterator[list[Takings]]:
        """The whole space, in groups of equal categories and places: what happens in each group of equal currencies.
        Made as it is asked for: all of it at once would be hundreds of MB for a large file."""
        for category_mask, categories in self.categories.items():
            for place_mask, places in self.places.items():
                group = []
                for mask, currencies, bands in self._groups_paid(category_mask & place_mask):
                    taken, left = self._sweep(mask, bands)
                    group.append(Takings(tuple(categories), tuple(places), currencies, bands, taken, left))
                    for index, _ in taken:
                        self.reached |= 1 << index
                yield group

    def shadows(self, index: int) -> Iterator[Takings]:
        """For each group where rule `index` matches but for the amount: its bands there, and who takes them."""
        above = (1 << index) - 1
        for category_mask, categories in self.categories.items():
            for place_mask, places in self.places.items():
                if (category_mask & place_mask) >> index & 1:
                    for mask, currencies, bands in self._groups_paid(category_mask & place_mask):
                        if mask >> index & 1:
                            wanted = bands & self.bands[index]
                            taken, left = self._sweep(mask & above, wanted)
                            yield Takings(tuple(categories), tuple(places), currencies, wanted, taken, left)

    def bands_paid(self, currencies: Iterable[Converted]) -> int:
        """The bands that amounts of any of these currencies convert into."""
        found = 0
        for one in currencies:
            found |= self.attained[one.currency]
        return found

    def case(self, category: str, place: Place, currencies: Iterable[Converted], bands: int) -> dict[str, str]:
        """A request in the lowest of `bands` that one of the currencies can be in."""
        for band in bits(bands):
            for one in currencies:
                amount = one.smallest_in(*self.cells.bounds(band))
                if amount is not None:
                    return {
                        "category_id": category,
                        "department_id": place[0],
                        "region": place[1],
                        "currency": one.currency,
                        "amount": format_minor(amount, one.currency),
                    }
        raise ValueError("no amount of these currencies is in these bands")

    def case_in(self, takings: Takings, bands: int) -> dict[str, str]:
        """As `case`, for the first category and place of the group."""
        return self.case(takings.categories[0], takings.places[0], takings.currencies, bands)

    def rule(self, index: int) -> Rule:
        """A rule by number; -1 is the default."""
        return self.file.default if index < 0 else self.file.rules[index]

    def _attained(self, one: Converted) -> int:
        found = 0
        for band in range(len(self.cells.edges) + 1):
            if one.smallest_in(*self.cells.bounds(band)) is not None:
                found |= 1 << band
        return found

    def _groups_paid(self, both: int) -> Iterator[tuple[int, tuple[Converted, ...], int]]:
        """(rules, currencies, bands) for each group of currencies that the rules of `both` treat alike."""
        paid: dict[int, list[Converted]] = {}
        for currency_mask, currencies in self._paid.items():
            paid.setdefault(both & currency_mask, []).extend(currencies)
        for mask, same in paid.items():
            yield mask, tuple(same), self.bands_paid(same)

    def _sweep(self, mask: int, free: int) -> tuple[tuple[tuple[int, int], ...], int]:
        taken = []
        for index in bits(mask):
            mine = free & self.bands[index]
            if mine:
                taken.append((index, mine))
                free ^= mine
                if not free:
                    break
        return tuple(taken), free


def _grouped(pairs: Iterable[tuple[int, T]]) -> dict[int, list[T]]:
    found: dict[int, list[T]] = {}
    for mask, item in pairs:
        found.setdefault(mask, []).append(item)
    return found
