"""Two rules that match the same case, which their author may not have meant."""

from __future__ import annotations

from rules.cells import bits
from rules.model import Finding
from rules.reach import Reach


def overlaps(reach: Reach, most: int) -> tuple[list[Finding], int]:
    """(a warning for each of the first `most` pairs of rules with a case in common, how many pairs there are). Pairs
    whose later rule can never match are left out: that is an error of its own."""
    categories = _members(reach, [mask for mask, group in reach.categories.items() for _ in group])
    places = _members(reach, [mask for mask, group in reach.places.items() for _ in group])
    paid = [reach.cells.currency.mask(one.currency) for one in reach.currencies]
    currencies = _members(reach, paid)
    attained = [reach.attained[one.currency] for one in reach.currencies]
    bands_by_choice: dict[int, int] = {}
    found: list[Finding] = []
    count = 0
    for later in bits(reach.reached):
        category, place, currency, bands = categories[later], places[later], currencies[later], reach.bands[later]
        for earlier in range(later):
            if not (category & categories[earlier] and place & places[earlier]):
                continue
            shared = bands & reach.bands[earlier]
            if not shared:
                continue
            choice = currency & currencies[earlier]
            if choice not in bands_by_choice:
                bands_by_choice[choice] = _union(attained, choice)
            if not shared & bands_by_choice[choice]:
                continue
            count += 1
            if len(found) < most:
                both = next(bits(category & categories[earlier])), next(bits(place & places[earlier]))
                found.append(_overlap(reach, (earlier, later), *both, choice))
    return found, count


def _union(masks: list[int], choice: int) -> int:
    """The union of the masks at the positions in `choice`."""
    found = 0
    for index in bits(choice):
        found |= masks[index]
    return found


def _members(reach: Reach, masks: list[int]) -> list[int]:
    """By rule: which of the items, given by their masks of rules, it matches."""
    found = [0] * len(reach.file.rules)
    for position, mask in enumerate(masks):
        for index in bits(mask):
            found[index] |= 1 << position
    return found


def _overlap(reach: Reach, pair: tuple[int, int], category: int, place: int, currencies: int) -> Finding:
    """`category` and `place` are the numbers of shared ones, `currencies` a mask of all shared."""
    earlier, later = pair
    chosen = [reach.currencies[index] for index in bits(currencies)]
    bands = reach.bands[earlier] & reach.bands[later] & reach.bands_paid(chosen)
    categories = [one for group in reach.categories.values() for one in group]
    places = [one for group in reach.places.values() for one in group]
    case = reach.case(categories[category], places[place], chosen, bands)
    first, second = reach.rule(earlier), reach.rule(later)
    text = f"`{first.id}` and `{second.id}` overlap: where both match, `{first.id}` wins, for it stands first."
    return Finding.about(second, "overlapping-rules", text, error=False, ids=(first.id, second.id), example=case)
