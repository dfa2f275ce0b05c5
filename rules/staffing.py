"""Who can decide a level, and whether all levels can be decided by different people.

`no-approver` (at submit and reassign), `needed-later` (at a vote) and the rules check all ask `can_staff`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Protocol

from rules.model import Quorum


class AssignmentLike(Protocol):
    """Puts an approver on a category at a level, for one department, for one region, or (both None) for all."""

    @property
    def category_id(self) -> str: ...
    @property
    def level(self) -> str: ...
    @property
    def approver_id(self) -> str: ...
    @property
    def department_id(self) -> str | None: ...
    @property
    def region(self) -> str | None: ...


class Pools:
    """Assignments indexed for many look-ups. Whether somebody is active and a manager is not looked at here: the caller
    takes the others out of the pool it gets, and no less specific assignment steps in for them."""

    def __init__(self, assignments: Iterable[AssignmentLike]) -> None:
        self._found: dict[tuple[str, str], dict[tuple[str | None, str | None], set[str]]] = {}
        for one in assignments:
            place = (one.department_id, None if one.department_id is not None else one.region)
            self._found.setdefault((one.category_id, one.level), {}).setdefault(place, set()).add(one.approver_id)
        self._sorted: dict[tuple[str, str, tuple[str | None, str | None]], tuple[str, ...]] = {}

    def resolve(self, category_id: str, level: str, department_id: str, region: str) -> tuple[str, ...]:
        """Sorted approver ids: those for the department, else those for its region, else those with neither."""
        places = self._found.get((category_id, level))
        if places is None:
            return ()
        for place in ((department_id, None), (None, region), (None, None)):
            found = places.get(place)
            if found is not None:
                key = (category_id, level, place)
                if key not in self._sorted:
                    self._sorted[key] = tuple(sorted(found))
                return self._sorted[key]
        return ()


def resolve_pool(
    assignments: Iterable[AssignmentLike], category_id: str, level: str, department_id: str, region: str
) -> tuple[str, ...]:
    """As `Pools.resolve`, for one look-up; an assignment with both department and region counts as the department's."""
    of_department, of_region, of_all = set(), set(), set()
    for one in assignments:
        if one.level != level or one.category_id != category_id:
            continue
        if one.department_id is not None:
            if one.department_id == department_id:
                of_department.add(one.approver_id)
        elif one.region is None:
            of_all.add(one.approver_id)
        elif one.region == region:
            of_region.add(one.approver_id)
    return tuple(sorted(of_department or of_region or of_all))


def quorum_number(spec: Quorum, pool_size: int) -> int:
    """Votes needed: `any` is 1, `all` the pool's size but at least 1 (nobody is never enough), a number itself."""
    if spec == "any":
        return 1
    if spec == "all":
        return max(1, pool_size)
    return spec


def can_staff(levels: Sequence[tuple[str, int, frozenset[str]]], excluded: frozenset[str] = frozenset()) -> bool:
    """Whether every level's votes can come from different people.

    `levels` holds (level, votes still needed, pool of people who may still give them); nobody in `excluded` counts, and
    one person serves one level at most. Exact by Hall's theorem: it is possible if and only if for every choice of
    levels the union of their pools is as large as the sum of their votes. With three levels those are seven unions.
    """
    open_levels = [(needed, pool - excluded) for _, needed, pool in levels if needed > 0]
    for needed, pool in open_levels:
        if len(pool) < needed:
            return False
    everybody: frozenset[str] = frozenset().union(*(pool for _, pool in open_levels))
    if len(everybody) == sum(len(pool) for _, pool in open_levels):
        # Nobody is in two pools: no level can take another's people.
        return True
    total = sum(needed for needed, _ in open_levels)
    if all(len(pool) >= total for _, pool in open_levels):
        return True
    for size in range(2, len(open_levels) + 1):
        for chosen in combinations(open_levels, size):
            if len(frozenset().union(*(pool for _, pool in chosen))) < sum(needed for needed, _ in chosen):
                return False
    return True
