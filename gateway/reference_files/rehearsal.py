"""Tries a file's changes out on a copy of the reference data, by the worker's own rules, and finds an order in which all hold.

What rows may depend on is in the file too: one account takes the address that another gives up, the last administrator goes when
the next has come. So a row is judged by the result of the whole file: one that is refused waits for a row that makes room.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from gateway.reference_files.faults import Faults
from gateway.reference_files.wanted import Wanted
from rules.decide_reference import ReferenceDecision, decide_reference
from schemas.catalog import Catalog
from schemas.codes import DETAIL, Code
from schemas.reference import Assignment, EntityBase, PutEntity, User, UserBody

#: A command's facts besides what it wants: ids, actor, salt.
Facts = Callable[[], dict[str, Any]]
_Room = tuple[Any, ...]
_ADMIN: _Room = ("admin",)


@dataclass(frozen=True, slots=True)
class Step:
    """One command, and the row that wants it."""

    wanted: Wanted
    command: PutEntity


def rehearse(
    wanted: Iterable[Wanted], catalog: Catalog, actor_id: str, facts: Facts, at: int, faults: Faults
) -> list[Step]:
    """The steps in an order in which each is accepted, as far as is known now. `catalog` is used up. Rows that nothing makes room
    for go to `faults`.
    """
    allowed = catalog.is_active(actor_id, "admin")
    ready: deque[Step] = deque()
    last: list[Step] = []
    for one in wanted:
        if one.body is not None:
            version = 0 if one.before is None else one.before.version
            step = Step(one, PutEntity(**facts(), expected_version=version, entity_id=one.id, body=one.body))
            # Who gives up their own rights does that when all else is done with them.
            (last if _steps_down(one, actor_id) else ready).append(step)
    done: list[Step] = []
    blocked: dict[_Room, list[tuple[Step, ReferenceDecision]]] = {}
    ready.extend(last)
    while ready:
        step = ready.popleft()
        decision = decide_reference(step.command, catalog, at)
        if decision.after is None:
            room = _wants_room(step.wanted, decision)
            if room is None:
                gone = decision.refusal is Code.ACTOR_NOT_ALLOWED and allowed
                _refuse(step, decision, faults, rights_given_up=gone)
            else:
                blocked.setdefault(room, []).append((step, decision))
            continue
        catalog.put(decision.after)
        done.append(step)
        for room in _makes_room(step.wanted.before, decision.after):
            ready.extend(waiting for waiting, _ in blocked.pop(room, ()))
    for steps in blocked.values():
        for step, decision in steps:
            _refuse(step, decision, faults)
    return done


def _steps_down(one: Wanted, actor_id: str) -> bool:
    body = one.body
    return (
        one.id == actor_id and isinstance(body, UserBody) and not (body.active is not False and "admin" in body.roles)
    )


def _wants_room(one: Wanted, decision: ReferenceDecision) -> _Room | None:
    """What a row waits for that was refused; None when no other row can help it."""
    body: Any = one.body
    if decision.refusal is Code.EMAIL_TAKEN:
        return "email", body.email.lower()
    if decision.refusal is Code.LAST_ADMIN:
        return _ADMIN
    if decision.refusal is Code.ENTITY_EXISTS and decision.kind == "assignment":
        return "place", (body.category_id, body.level, body.approver_id, body.department_id, body.region)
    return None


def _makes_room(before: EntityBase | None, after: EntityBase) -> list[_Room]:
    """What others may take or do, now that the entity is no longer as before."""
    found: list[_Room] = []
    if isinstance(before, User) and isinstance(after, User) and before.email.lower() != after.email.lower():
        found.append(("email", before.email.lower()))
    if isinstance(after, User) and after.active and "admin" in after.roles:
        found.append(_ADMIN)
    if isinstance(before, Assignment) and isinstance(after, Assignment) and before.place != after.place:
        found.append(("place", before.place))
    return found


def _refuse(step: Step, decision: ReferenceDecision, faults: Faults, *, rights_given_up: bool = False) -> None:
    assert decision.refusal is not None
    column = "email" if decision.refusal is Code.EMAIL_TAKEN else (decision.pointer or "").removeprefix("/") or None
    detail = DETAIL[decision.refusal]
    if decision.refusal is Code.EMAIL_TAKEN:
        detail += (
            " Accounts that change addresses with each other need a third address in between, in a file of its own."
        )
    if rights_given_up:
        detail = "needs what you give up together with your own rights, which goes last. Do the one in a file before the other."
    faults.note(step.wanted.line, column, detail)
