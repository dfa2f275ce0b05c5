"""Routes that a request can take and that nobody, or not everybody's colleagues, could decide."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from rules.model import LEVELS, Finding, Level, Quorum, Rule
from rules.reach import Place, Reach, Takings
from rules.staffing import AssignmentLike, Pools, can_staff, quorum_number

#: Levels with their quorums: what two rules have in common when the same people must decide.
Route = tuple[tuple[Level, Quorum], ...]
#: The active approvers of L1, L2 and L3 for one category and department.
Staff = tuple[frozenset[str], frozenset[str], frozenset[str]]
_NOBODY: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Trouble:
    """Where one route, or one rule, cannot be staffed: the first case, how many places, for whom."""

    category: str
    place: Place
    requester: str
    count: int = 0
    requesters: dict[str, None] = field(default_factory=dict)
    example: dict[str, str] = field(default_factory=dict)

    def add(self, count: int, requesters: Iterable[str]) -> None:
        self.count += count
        self.requesters.update(dict.fromkeys(requesters))


class Unstaffed:
    """Collects, group by group: one error for each rule whose route cannot be staffed somewhere even for an
    outsider's request, one warning for each whose route cannot where an approver asks. `requesters` are (user id,
    department id), None for anybody anywhere."""

    def __init__(
        self,
        reach: Reach,
        assignments: Iterable[AssignmentLike],
        managers: Collection[str],
        requesters: Sequence[tuple[str, str]] | None,
    ) -> None:
        self._reach = reach
        self._people = _People(assignments, frozenset(managers), requesters)
        self._routes = {index: _route(reach.rule(index)) for index in range(-1, len(reach.file.rules))}
        self._nobody: dict[int, _Trouble] = {}
        self._some: dict[int, _Trouble] = {}

    def add(self, group: list[Takings]) -> None:
        """Look at one group of `Reach.groups`."""
        routes, taken = self._routes, _taken(group)
        failing = _failing(self._people, group[0], list(dict.fromkeys(routes[index] for index in taken)))
        if not failing:
            return
        for index, (takings, bands) in taken.items():
            for into, everybody in ((self._nobody, True), (self._some, False)):
                trouble = failing.get((routes[index], everybody))
                if trouble is None:
                    continue
                if index not in into:
                    case = self._reach.case(trouble.category, trouble.place, takings.currencies, bands)
                    if trouble.requester:
                        case["requester_id"] = trouble.requester
                    into[index] = _Trouble(trouble.category, trouble.place, trouble.requester, example=case)
                into[index].add(trouble.count, trouble.requesters)

    def errors(self) -> list[Finding]:
        """`unstaffable-route`, one for each rule."""
        found = []
        for index, trouble in sorted(self._nobody.items()):
            text = (
                f"`{self._reach.rule(index).id}` cannot be staffed for {_where(trouble)}: its quorums cannot be met by "
                "different people. Assign more approvers there, or lower the quorums."
            )
            found.append(
                Finding.about(self._reach.rule(index), "unstaffable-route", text, error=True, example=trouble.example)
            )
        return found

    def warnings(self) -> list[Finding]:
        """`unstaffable-for-requester`, one for each rule."""
        found = []
        for index, trouble in sorted(self._some.items()):
            names = list(trouble.requesters)
            who = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            text = (
                f"`{self._reach.rule(index).id}` cannot be staffed for requests of {who}, as for {_where(trouble)}: "
                "nobody decides on their own request. Assign one more approver there."
            )
            found.append(
                Finding.about(
                    self._reach.rule(index), "unstaffable-for-requester", text, error=False, example=trouble.example
                )
            )
        return found


def _failing(people: _People, group: Takings, routes: list[Route]) -> dict[tuple[Route, bool], _Trouble]:
    """By route, and whether it fails for everybody: where among the group's categories and places."""
    found: dict[tuple[Route, bool], _Trouble] = {}
    for category in group.categories:
        for place in group.places:
            staff = people.staff(category, place)
            asking = people.asking(staff, place)
            for route in routes:
                who = people.verdict(route, staff, asking)
                if who:
                    key = (route, who[0] == "")
                    if key not in found:
                        found[key] = _Trouble(category, place, who[0])
                    found[key].add(1, who)
    return found


class _People:
    def __init__(
        self,
        assignments: Iterable[AssignmentLike],
        managers: frozenset[str],
        requesters: Sequence[tuple[str, str]] | None,
    ) -> None:
        self._pools = Pools(assignments)
        self._managers = managers
        self._asking: dict[str, set[str]] | None = None if requesters is None else {}
        for person, department in requesters or ():
            if self._asking is not None:
                self._asking.setdefault(department, set()).add(person)
        self._active: dict[tuple[str, ...], frozenset[str]] = {}
        self._verdicts: dict[tuple[Route, Staff, tuple[str, ...]], tuple[str, ...]] = {}

    def staff(self, category: str, place: Place) -> Staff:
        one, two, three = (self._usable(self._pools.resolve(category, level, *place)) for level in LEVELS)
        return one, two, three

    def asking(self, staff: Staff, place: Place) -> tuple[str, ...]:
        """The approvers here who may file a request of their own in this department."""
        approvers = staff[0] | staff[1] | staff[2]
        return tuple(sorted(approvers if self._asking is None else approvers & self._asking.get(place[0], _NOBODY)))

    def verdict(self, route: Route, staff: Staff, asking: tuple[str, ...]) -> tuple[str, ...]:
        """For whom the route cannot be staffed: ("",) for everybody, else the approvers whose own requests."""
        key = (route, staff, asking)
        found = self._verdicts.get(key)
        if found is None:
            failing = ("",) if not _works(route, staff, _NOBODY) else ()
            found = failing or tuple(one for one in asking if not _works(route, staff, frozenset((one,))))
            self._verdicts[key] = found
        return found

    def _usable(self, pool: tuple[str, ...]) -> frozenset[str]:
        if pool not in self._active:
            self._active[pool] = self._managers.intersection(pool)
        return self._active[pool]


def _works(route: Route, staff: Staff, excluded: frozenset[str]) -> bool:
    """Just what a submit does: the requester leaves the pools, and `all` counts who is left."""
    needs = []
    for level, quorum in route:
        pool = staff[LEVELS.index(level)] - excluded
        needs.append((level, quorum_number(quorum, len(pool)), pool))
    return can_staff(needs)


def _route(rule: Rule) -> Route:
    return tuple((level, rule.quorum_of(level)) for level in rule.levels)


def _taken(group: list[Takings]) -> dict[int, tuple[Takings, int]]:
    """By rule (-1 is the default): where it takes cases first, and which bands."""
    found: dict[int, tuple[Takings, int]] = {}
    for takings in group:
        for index, bands in takings.taken:
            if index not in found:
                found[index] = (takings, bands)
        if takings.left:
            found.setdefault(-1, (takings, takings.left))
    return found


def _where(trouble: _Trouble) -> str:
    case = trouble.example
    more = {1: "", 2: " and one more such place"}.get(trouble.count, f" and {trouble.count - 1} more such places")
    return f"{case['category_id']} in {case['department_id']} ({case['region']}){more}"
