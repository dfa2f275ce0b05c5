"""Delegates among those who are told: whoever may vote for somebody hears of that person's open tasks too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from schemas.catalog import Catalog
from schemas.state import RequestState

#: What is said of an open task; all else concerns the person themself.
TASKS = frozenset({"level-opened", "task-cancelled", "withdrawn", "reminder", "escalated"})

#: [approver, delegate] each.
Pairs = list[list[str]]


def stand_ins(before: RequestState | None, after: RequestState | None, catalog: Catalog, at: int) -> Pairs | None:
    """The delegates, at time `at`, of those in the pool that is open before or after an event; None when nobody has any."""
    if not catalog.delegations.all:
        return None
    people: dict[str, None] = {}
    for state in (before, after):
        if state is not None and state.open_level is not None:
            people.update(dict.fromkeys(state.open_level.deciders))
    return [[person, one] for person in people for one in catalog.delegates_of(person, at)] or None


def told_too(told: Iterable[tuple[str, str]], pairs: Pairs | None, after: RequestState) -> Iterator[tuple[str, str]]:
    """(template, user id) of each delegate who is told besides, once, in a fixed order. Not of their own requests, nor of a task
    that they cannot do because they have voted.
    """
    if pairs is None:
        return
    given = list(told)
    seen, cannot = set(given), after.voters | {after.requester_id}
    for template, user_id in given:
        for approver, delegate in pairs:
            one = (template, delegate)
            if approver != user_id or template not in TASKS or delegate in cannot or one in seen:
                continue
            seen.add(one)
            yield one
