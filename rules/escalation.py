"""Reminders and escalation: what is decided when an open level has waited. Pure.

Both are commands of the system that name the version at which the level opened; early, stale or repeated they do nothing.
"""

from __future__ import annotations

from rules.submit import SubmitContext, resolve_level
from schemas.base import LEVELS, Level
from schemas.commands import SYSTEM, Escalate, Remind
from schemas.deadlines import Due, escalating, reminding
from schemas.events import Escalated, Reminded
from schemas.state import RequestState


def remind(state: RequestState, command: Remind, at: int) -> Reminded | None:
    """The reminder at time `at`, None when it is not due for that opening of the level."""
    if not _is_due(reminding(state), command.opened_version, at):
        return None
    assert state.open_level is not None
    return Reminded(
        version=state.version + 1,
        at=at,
        actor_id=SYSTEM,
        command_id=command.command_id,
        level=state.open_level.level,
        opened_version=command.opened_version,
    )


def escalate(state: RequestState, command: Escalate, context: SubmitContext) -> Escalated | None:
    """The escalation at the context's time, None when it is not due. It is one also where nobody is found: on record once."""
    if not _is_due(escalating(state), command.opened_version, context.at):
        return None
    assert state.open_level is not None
    return Escalated(
        version=state.version + 1,
        at=context.at,
        actor_id=SYSTEM,
        command_id=command.command_id,
        level=state.open_level.level,
        opened_version=command.opened_version,
        approvers=_above(state, context),
    )


def _is_due(due: Due | None, opened_version: int, at: int) -> bool:
    return due is not None and due.version == opened_version and at >= due.at


def _above(state: RequestState, context: SubmitContext) -> tuple[str, ...]:
    """Who is asked besides the open level's own pool: the pinned pool of the next level on the route, else that of the level
    above as the assignments have it now.
    """
    assert state.open_index is not None
    opened = state.levels[state.open_index]
    if state.open_index + 1 < len(state.levels):
        pool = state.levels[state.open_index + 1].approvers
    else:
        above: Level = LEVELS[LEVELS.index(opened.level) + 1]
        pool = resolve_level(
            context, state.category_id, above, state.department_id, state.region, excluded=state.requester_id
        )
    known = {*opened.approvers, state.requester_id}
    return tuple(one for one in pool if one not in known and context.catalog.is_active(one, "manager"))
