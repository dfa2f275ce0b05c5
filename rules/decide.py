"""`decide(state, command, context) -> Decision`: what a command does to a request. Pure: time, reference data and rules
come in through the context; nothing here reads a clock, a random number, a file or the network.

Refusals are looked for in this order, which `domain.md` leaves open: no part in the request, the account, the state, the
person, the version seen, the pool.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from rules.escalation import escalate, remind
from rules.parts import has_part
from rules.staffing import can_staff
from rules.submit import SubmitContext, decide_submit, resolve_level
from schemas.base import Level
from schemas.codes import Code
from schemas.commands import (
    SYSTEM,
    TIMED,
    Approve,
    CloseWindow,
    CommandBase,
    Comment,
    Escalate,
    Reassign,
    Reject,
    Remind,
    Rollback,
    SubmitRequest,
    Withdraw,
)
from schemas.events import (
    AnyEvent,
    Approved,
    Commented,
    Reassigned,
    Rejected,
    RolledBack,
    WindowClosed,
    Withdrawn,
)
from schemas.state import LevelState, RequestState, Status

#: Events one request can hold, the one that ends it included.
MAX_EVENTS = 1000
#: Kept free for what people and the system must still be able to do to a request full of comments.
RESERVED_EVENTS = 100


class Context(SubmitContext, Protocol):
    """What a decision may use: the log's time, the reference data, the rules in force."""


class Decision(NamedTuple):
    """Exactly one of: an event, a refusal code, or neither (a `CloseWindow` that came early or twice)."""

    event: AnyEvent | None = None
    refusal: Code | None = None
    pointer: str | None = None


NOTHING = Decision()


def refuse(code: Code, pointer: str | None = None) -> Decision:
    return Decision(refusal=code, pointer=pointer)


def decide(state: RequestState | None, command: CommandBase, context: Context) -> Decision:
    """What the command does at `context.at`. `state` None: there is no such request.

    The command's `request_id` is the state's id. Repeats are recognised before this function, not in it.
    """
    if isinstance(command, SubmitRequest):
        if state is not None:
            known = has_part(state, command.actor_id, context.catalog, context.at)
            return refuse(Code.REQUEST_EXISTS if known else Code.NOT_FOUND)
        return Decision(*decide_submit(command, context))
    if isinstance(command, TIMED):
        # Of the system alone. What is early, stale or repeated does nothing, also when there is no such request.
        if command.actor_id != SYSTEM:
            return refuse(Code.ACTOR_NOT_ALLOWED)
        return NOTHING if state is None else _timed(state, command, context)
    if isinstance(command, Reassign) and not _may_reassign(command.actor_id, context):
        # Before the request is looked at: who may not, does not learn whether it exists.
        return refuse(Code.ACTOR_NOT_ALLOWED)
    if state is None:
        # What a stranger hears of a request that exists, word for word.
        return refuse(Code.NOT_VISIBLE if isinstance(command, Comment) else Code.NOT_FOUND)
    decision = DECIDERS[type(command)](state, command, context)
    # The last event is kept for what ends a request: a withdrawal, or its window closing.
    if decision.event is not None and state.version >= MAX_EVENTS - 1 and not isinstance(decision.event, Withdrawn):
        return refuse(Code.TOO_MANY_EVENTS)
    return decision


def _stale(state: RequestState, command: CommandBase) -> bool:
    seen = command.expected_version
    return seen is not None and (seen < state.changed_version or seen > state.version)


def _vote(state: RequestState, command: Approve | Reject, context: Context) -> Decision:
    actor = command.actor_id
    if not has_part(state, actor, context.catalog, context.at):
        return refuse(Code.NOT_FOUND)
    if not context.catalog.is_active(actor, "manager"):
        return refuse(Code.ACTOR_NOT_ALLOWED)
    level = state.open_level
    if level is None:
        return refuse(Code.NOT_PENDING)
    if actor == state.requester_id:
        return refuse(Code.SELF_APPROVAL)
    voters = state.voters
    if actor in voters:
        return refuse(Code.ALREADY_VOTED)
    if _stale(state, command):
        return refuse(Code.STALE_VERSION)
    seats = _seats(level, actor, context)
    if not seats:
        return refuse(Code.NOT_AN_APPROVER)
    free = [one for one in seats if one not in voters]
    if not free:
        return refuse(Code.ALREADY_VOTED)
    if isinstance(command, Approve):
        free = [one for one in free if _staffed_after(state, voters | {actor, one, state.requester_id})]
        if not free:
            return refuse(Code.NEEDED_LATER)
    seat = free[0]
    facts: dict[str, Any] = {
        "version": state.version + 1,
        "at": context.at,
        "actor_id": actor,
        "command_id": command.command_id,
        "level": level.level,
        "comment": command.comment,
        "on_behalf_of": None if seat == actor else seat,
    }
    if isinstance(command, Reject):
        return Decision(Rejected(**facts))
    return Decision(Approved(**facts))


def _seats(level: LevelState, actor: str, context: Context) -> tuple[str, ...]:
    """Whose vote the actor may give at this level, in the order in which they are looked at: their own, or that of the approvers
    who have named them their delegate.
    """
    if actor in level.deciders:
        return (actor,)
    delegators = context.catalog.delegators_of(actor, context.at)
    return tuple(person for person in level.deciders if person in delegators)


def _staffed_after(state: RequestState, used: frozenset[str]) -> bool:
    """Whether the votes still missing after this one can come from different people, none of whom is `used` up."""
    index = state.open_index
    assert index is not None
    if index == len(state.levels) - 1 and state.levels[index].approvals + 1 >= state.levels[index].quorum:
        return True
    missing = []
    for position, level in enumerate(state.levels[index:], start=index):
        needed = level.quorum - level.approvals - (1 if position == index else 0)
        if needed > 0:
            missing.append((level.level, needed, frozenset(level.approvers)))
    return can_staff(missing, used)


def _rollback(state: RequestState, command: Rollback, context: Context) -> Decision:
    actor = command.actor_id
    if not has_part(state, actor, context.catalog, context.at):
        return refuse(Code.NOT_FOUND)
    if state.status in (Status.FINALIZED, Status.CLOSED):
        return refuse(Code.WINDOW_CLOSED)
    if state.status is Status.WITHDRAWN:
        return refuse(Code.NOT_PENDING)
    standing = state.standing
    if not standing:
        return refuse(Code.NOTHING_TO_ROLL_BACK)
    mine = [(level, vote) for level, vote in standing if vote.given_by == actor]
    if not mine:
        return refuse(Code.NOT_YOUR_DECISION)
    level, vote = mine[-1]
    if context.at >= vote.at + state.window_ms:
        return refuse(Code.WINDOW_CLOSED)
    if vote.version != standing[-1][1].version:
        return refuse(Code.SUPERSEDED)
    if not context.catalog.is_active(actor, "manager"):
        return refuse(Code.NOT_AN_APPROVER)
    if _stale(state, command):
        return refuse(Code.STALE_VERSION)
    return Decision(
        RolledBack(
            version=state.version + 1,
            at=context.at,
            actor_id=actor,
            command_id=command.command_id,
            level=level,
            decision_version=vote.version,
            comment=command.comment,
        )
    )


def _withdraw(state: RequestState, command: Withdraw, context: Context) -> Decision:
    actor = command.actor_id
    if not has_part(state, actor, context.catalog, context.at):
        return refuse(Code.NOT_FOUND)
    if actor != state.requester_id:
        return refuse(Code.NOT_YOUR_REQUEST)
    if not context.catalog.is_active(actor, "sales"):
        return refuse(Code.ACTOR_NOT_ALLOWED)
    if not state.pending:
        return refuse(Code.NOT_PENDING)
    if _stale(state, command):
        return refuse(Code.STALE_VERSION)
    return Decision(
        Withdrawn(
            version=state.version + 1,
            at=context.at,
            actor_id=actor,
            command_id=command.command_id,
            comment=command.comment,
        )
    )


def _comment(state: RequestState, command: Comment, context: Context) -> Decision:
    actor = command.actor_id
    if not has_part(state, actor, context.catalog, context.at):
        return refuse(Code.NOT_VISIBLE)
    user = context.catalog.users.get(actor)
    if user is None or not user.active:
        return refuse(Code.ACTOR_NOT_ALLOWED)
    if state.version >= MAX_EVENTS - RESERVED_EVENTS:
        return refuse(Code.TOO_MANY_EVENTS)
    return Decision(
        Commented(
            version=state.version + 1,
            at=context.at,
            actor_id=actor,
            command_id=command.command_id,
            comment=command.text,
        )
    )


def _may_reassign(actor: str, context: Context) -> bool:
    return actor == SYSTEM or context.catalog.is_active(actor, "admin")


def _reassign(state: RequestState, command: Reassign, context: Context) -> Decision:
    by_system = command.actor_id == SYSTEM
    index = _open_or_later(state, command.level)
    if index is None:
        return refuse(Code.NOT_PENDING)
    if _stale(state, command):
        return refuse(Code.STALE_VERSION)
    level = state.levels[index]
    pool = resolve_level(
        context, state.category_id, level.level, state.department_id, state.region, excluded=state.requester_id
    )
    quorum = len(pool) if level.quorum_rule == "all" else level.quorum
    stays = {*pool, *(level.escalated or ())}
    dropped = tuple(vote.approver_id for vote in level.votes if vote.approver_id not in stays)
    if not _staffed_with(state, index, pool, quorum, dropped):
        if not by_system or level.unstaffed:  # flagged before: a second event would say nothing new
            return refuse(Code.NO_APPROVER)
        return Decision(_reassigned(state, command, context, level.approvers, level.quorum, (), unstaffed=True))
    return Decision(_reassigned(state, command, context, pool, quorum, dropped, unstaffed=False))


def _reassigned(
    state: RequestState,
    command: Reassign,
    context: Context,
    pool: tuple[str, ...],
    quorum: int,
    dropped: tuple[str, ...],
    *,
    unstaffed: bool,
) -> Reassigned:
    return Reassigned(
        version=state.version + 1,
        at=context.at,
        actor_id=command.actor_id,
        command_id=command.command_id,
        level=command.level,
        approvers=pool,
        quorum=quorum,
        dropped=dropped,
        unstaffed=unstaffed,
    )


def _open_or_later(state: RequestState, wanted: Level) -> int | None:
    if state.open_index is None:
        return None
    for index in range(state.open_index, len(state.levels)):
        if state.levels[index].level == wanted:
            return index
    return None


def _staffed_with(
    state: RequestState, changed: int, pool: tuple[str, ...], quorum: int, dropped: tuple[str, ...]
) -> bool:
    """Whether the missing votes can come from different people once level `changed` has this pool."""
    if quorum == 0 or not pool:
        return False
    assert state.open_index is not None
    kept = (vote for _, vote in state.standing if vote.approver_id not in dropped)
    used = {person for vote in kept for person in vote.people} | {state.requester_id}
    missing = []
    for index in range(state.open_index, len(state.levels)):
        level = state.levels[index]
        lost = len(dropped) if index == changed else 0
        needed = (quorum if index == changed else level.quorum) - (level.approvals - lost)
        if needed > 0:
            missing.append((level.level, needed, frozenset(pool if index == changed else level.approvers)))
    return can_staff(missing, frozenset(used))


def _timed(state: RequestState, command: CloseWindow | Remind | Escalate, context: Context) -> Decision:
    match command:
        case Remind():
            return Decision(remind(state, command, context.at))
        case Escalate():
            return Decision(escalate(state, command, context))
        case _:
            return _close_window(state, command, context)


def _close_window(state: RequestState, command: CloseWindow, context: Context) -> Decision:
    newest, due = state.newest_decision, state.closes_at
    if newest is None or due is None or newest[1].version != command.decision_version or context.at < due:
        return NOTHING
    return Decision(
        WindowClosed(
            version=state.version + 1,
            at=context.at,
            actor_id=SYSTEM,
            command_id=command.command_id,
            decision_version=command.decision_version,
            status="finalized" if state.status is Status.APPROVED else "closed",
        )
    )


DECIDERS: dict[type, Callable[[RequestState, Any, Context], Decision]] = {
    Approve: _vote,
    Reject: _vote,
    Rollback: _rollback,
    Withdraw: _withdraw,
    Comment: _comment,
    Reassign: _reassign,
}
