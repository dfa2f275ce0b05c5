"""`evolve(state, event) -> state`: the one place where an event changes a request. Pure; never refuses.

A released applier is not edited in a way that changes the fold of events already written; add an event type instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from schemas.events import (
    AnyEvent,
    Approved,
    Commented,
    Escalated,
    Reassigned,
    Rejected,
    Reminded,
    RolledBack,
    Submitted,
    WindowClosed,
    Withdrawn,
)
from schemas.state import PENDING, LevelState, RequestState, Status, Vote


def evolve(state: RequestState | None, event: AnyEvent, request_id: str) -> RequestState:
    """The state after `event`. `state` is None exactly for `Submitted`.

    Raises:
        ValueError: the event does not follow the state: a hole in the log, or not this request's event.
    """
    expected = 1 if state is None else state.version + 1
    if event.version != expected:
        raise ValueError(f"request {request_id}: expected the event of version {expected}, found {event.version}")
    if isinstance(event, Submitted):
        if state is not None:
            raise ValueError(f"request {request_id}: submitted twice")
        return _submitted(event, request_id)
    if state is None:
        raise ValueError(f"request {request_id}: {type(event).__name__} before it was submitted")
    return APPLIERS[type(event)](state, event)


def fold(events: Iterable[AnyEvent], request_id: str) -> RequestState | None:
    """The state that the events lead to; None for no events."""
    state: RequestState | None = None
    for event in events:
        state = evolve(state, event, request_id)
    return state


def _submitted(event: Submitted, request_id: str) -> RequestState:
    levels = tuple(LevelState(p.level, p.quorum, p.quorum_rule, p.approvers) for p in event.levels)
    return RequestState(
        id=request_id,
        version=event.version,
        status=PENDING[levels[0].level],
        requester_id=event.actor_id,
        department_id=event.department_id,
        region=event.region,
        category_id=event.category_id,
        reason_id=event.reason_id,
        title=event.title,
        description=event.description,
        amount_minor=event.amount_minor,
        currency=event.currency,
        base_minor=event.base_minor,
        base_currency=event.base_currency,
        fx_rate=event.fx_rate,
        supersedes=event.supersedes,
        rules_version=event.rules_version,
        rule_id=event.rule_id,
        window_ms=event.window_ms,
        levels=levels,
        open_index=0,
        changed_version=event.version,
        created_at=event.at,
        updated_at=event.at,
        remind_after_ms=event.remind_after_ms,
        escalate_after_ms=event.escalate_after_ms,
        opened_at=event.at,
        opened_version=event.version,
    )


def _next(state: RequestState, event: AnyEvent, **changes: Any) -> RequestState:
    """As after an event that makes what was seen before it stale. A level that was not open before opens with it."""
    if changes.get("open_index", state.open_index) not in (None, state.open_index):
        changes |= {"opened_at": event.at, "opened_version": event.version, "reminded": False}
    return state._replace(version=event.version, changed_version=event.version, updated_at=event.at, **changes)


def _replaced(state: RequestState, index: int, level: LevelState) -> tuple[LevelState, ...]:
    return (*state.levels[:index], level, *state.levels[index + 1 :])


def _index(state: RequestState, level: str) -> int:
    for index, candidate in enumerate(state.levels):
        if candidate.level == level:
            return index
    raise ValueError(f"request {state.id}: level {level} is not on its route")


def _advanced(levels: tuple[LevelState, ...], index: int) -> dict[str, Any]:
    """Where a request stands whose level `index` is open: past every level that has its votes."""
    while index < len(levels) and levels[index].approvals >= levels[index].quorum:
        index += 1
    if index == len(levels):
        return {"levels": levels, "open_index": None, "status": Status.APPROVED}
    return {"levels": levels, "open_index": index, "status": PENDING[levels[index].level]}


def _with_vote(state: RequestState, event: Approved | Rejected, index: int, decision: str) -> dict[str, Any]:
    """The levels with the vote, and its delegate among those who had a part."""
    level, owner = state.levels[index], event.on_behalf_of
    if owner is None:
        vote = Vote(event.actor_id, decision, event.at, event.version, event.comment)
        return {"levels": _replaced(state, index, level._replace(votes=(*level.votes, vote)))}
    vote = Vote(owner, decision, event.at, event.version, event.comment, event.actor_id)
    return {
        "levels": _replaced(state, index, level._replace(votes=(*level.votes, vote))),
        "former_approvers": state.former_approvers | {event.actor_id},
    }


def _approved(state: RequestState, event: Approved) -> RequestState:
    index = _index(state, event.level)
    voted = _with_vote(state, event, index, "approve")
    return _next(state, event, **(voted | _advanced(voted["levels"], index)))


def _rejected(state: RequestState, event: Rejected) -> RequestState:
    voted = _with_vote(state, event, _index(state, event.level), "reject")
    return _next(state, event, **voted, open_index=None, status=Status.REJECTED)


def _rolled_back(state: RequestState, event: RolledBack) -> RequestState:
    index = _index(state, event.level)
    level = state.levels[index]
    votes = tuple(vote for vote in level.votes if vote.version != event.decision_version)
    levels = _replaced(state, index, level._replace(votes=votes))
    return _next(state, event, levels=levels, open_index=index, status=PENDING[level.level])


def _withdrawn(state: RequestState, event: Withdrawn) -> RequestState:
    return _next(state, event, open_index=None, status=Status.WITHDRAWN)


def _reassigned(state: RequestState, event: Reassigned) -> RequestState:
    if state.open_index is None:
        return _next(state, event)
    index = _index(state, event.level)
    level = state.levels[index]
    if event.unstaffed:
        return _next(state, event, levels=_replaced(state, index, level._replace(unstaffed=True)))
    gone = set(level.approvers) - set(event.approvers)
    votes = tuple(vote for vote in level.votes if vote.approver_id not in event.dropped)
    levels = _replaced(
        state, index, level._replace(approvers=event.approvers, quorum=event.quorum, votes=votes, unstaffed=False)
    )
    return _next(state, event, former_approvers=state.former_approvers | gone, **_advanced(levels, state.open_index))


def _commented(state: RequestState, event: Commented) -> RequestState:
    return state._replace(version=event.version, updated_at=event.at)


def _reminded(state: RequestState, event: Reminded) -> RequestState:
    return state._replace(version=event.version, updated_at=event.at, reminded=True)


def _escalated(state: RequestState, event: Escalated) -> RequestState:
    index = _index(state, event.level)
    levels = _replaced(state, index, state.levels[index]._replace(escalated=event.approvers))
    return state._replace(version=event.version, updated_at=event.at, levels=levels)


def _window_closed(state: RequestState, event: WindowClosed) -> RequestState:
    finalized = event.status == "finalized"
    return state._replace(
        version=event.version,
        updated_at=event.at,
        status=Status.FINALIZED if finalized else Status.CLOSED,
        finalized_at=event.at if finalized else None,
    )


APPLIERS: dict[type, Callable[[RequestState, Any], RequestState]] = {
    Approved: _approved,
    Rejected: _rejected,
    RolledBack: _rolled_back,
    Withdrawn: _withdrawn,
    Reassigned: _reassigned,
    Commented: _commented,
    WindowClosed: _window_closed,
    Reminded: _reminded,
    Escalated: _escalated,
}
