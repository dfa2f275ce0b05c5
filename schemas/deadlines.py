"""What time alone does to a request, and when: it follows from the state, which is the fold of its events.

A level that is open waits for its approvers: they are reminded once, and later the next level's pool may decide too. A request
that is decided waits for the end of its rollback window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from schemas.base import LEVELS
from schemas.state import RequestState, Status

Kind = Literal["close", "remind", "escalate"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: A request with so many events is neither reminded of nor escalated any more: what is left is for people.
QUIET_FROM = 900


@dataclass(frozen=True, slots=True)
class Due:
    """`at` in ms by the log's clock; `version` is that of the decision whose window ends, or at which the level opened."""

    at: int
    kind: Kind
    version: int


def closing(state: RequestState) -> Due | None:
    """The end of the rollback window of an approved or rejected request."""
    if state.status not in (Status.APPROVED, Status.REJECTED):
        return None
    newest = state.newest_decision
    return None if newest is None else Due(newest[1].at + state.window_ms, "close", newest[1].version)


def reminding(state: RequestState) -> Due | None:
    """When those are reminded for whom the open level waits: once each time it opens."""
    if state.open_index is None or state.remind_after_ms is None or state.reminded or state.version >= QUIET_FROM:
        return None
    return Due(state.opened_at + state.remind_after_ms, "remind", state.opened_version)


def escalating(state: RequestState) -> Due | None:
    """When the next level's pool may decide for the open level too: once, and never where there is no next level."""
    level = state.open_level
    if level is None or state.escalate_after_ms is None or level.escalated is not None or state.version >= QUIET_FROM:
        return None
    if level.level == LEVELS[-1]:
        return None
    return Due(state.opened_at + state.escalate_after_ms, "escalate", state.opened_version)


def next_due(state: RequestState, *, escalates: bool = True) -> Due | None:
    """What time does next; of two at the same moment the reminder. `escalates` False: there is no room for a pool."""
    first = closing(state)
    for one in (reminding(state), escalating(state) if escalates else None):
        if one is not None and (first is None or one.at < first.at):
            first = one
    return first
