"""What a command does to the reference data. Pure: the catalog is looked at, never changed.

One writer decides in one order, so what must be unique (an e-mail address, the last administrator) is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rules.check import Reference, check
from rules.delegating import refusal_of_new, refusal_of_removal
from rules.file import parse_rules
from rules.model import Finding, RulesFileError
from schemas.catalog import Catalog
from schemas.codes import Code
from schemas.commands import SYSTEM
from schemas.reference import (
    Assignment,
    AssignmentBody,
    Category,
    CategoryBody,
    Delegation,
    DelegationBody,
    Department,
    DepartmentBody,
    Entity,
    PutEntity,
    Reason,
    ReasonBody,
    ReferenceCommand,
    RemoveEntity,
    Rules,
    RulesBody,
    User,
    UserBody,
)


@dataclass(frozen=True, slots=True)
class ReferenceDecision:
    """`after` is the entity after the command, None when it was removed. A refusal carries a code instead."""

    kind: str
    id: str
    action: str
    after: Entity | None = None
    refusal: Code | None = None
    pointer: str | None = None
    findings: tuple[Finding, ...] = ()


#: What the check says about a file's text, for the organisation in a catalog.
Checking = Callable[[str, Catalog], tuple[Finding, ...]]


def findings_of(yaml: str, catalog: Catalog) -> tuple[Finding, ...]:
    """All that is wrong with a file, and what is worth knowing of it."""
    try:
        return tuple(check(parse_rules(yaml), Reference.of(catalog)))
    except RulesFileError as error:
        return tuple(error.findings)


def decide_reference(
    command: ReferenceCommand, catalog: Catalog, at: int, last_version: int = 0, checking: Checking = findings_of
) -> ReferenceDecision:
    """The entity after the command at time `at` (ms), or the refusal. `last_version`: the last one that the entity had, also if
    it was removed since; versions go on from there, so that none ever stands for two things. `checking` answers as `findings_of`
    does; what it raises is raised.
    """
    if isinstance(command, RemoveEntity):
        return _remove(command, catalog)
    if isinstance(command.body, RulesBody):
        return _publish(command, command.body, catalog, at, checking)
    if isinstance(command.body, DelegationBody):
        return _delegate(command, command.body, catalog, at, last_version)
    return _put(command, catalog, at, last_version)


def _allowed(command: ReferenceCommand, catalog: Catalog) -> bool:
    return command.actor_id == SYSTEM or catalog.is_active(command.actor_id, "admin")


def _stale(command: ReferenceCommand, version: int) -> bool:
    return command.expected_version is not None and command.expected_version != version


def _put(command: PutEntity, catalog: Catalog, at: int, last_version: int) -> ReferenceDecision:
    body, kind, id_ = command.body, command.body.kind, command.entity_id
    before = catalog.find(kind, id_)
    action = f"{kind}-created" if before is None else f"{kind}-changed"

    def refuse(code: Code, pointer: str | None = None) -> ReferenceDecision:
        return ReferenceDecision(kind, id_, action, refusal=code, pointer=pointer)

    if not _allowed(command, catalog):
        return refuse(Code.ACTOR_NOT_ALLOWED)
    version = 0 if before is None else before.version
    if _stale(command, version):
        return refuse(Code.ENTITY_EXISTS if command.expected_version == 0 else Code.PRECONDITION_FAILED)
    missing = _missing(body, catalog)
    if missing is not None:
        return refuse(Code.UNKNOWN_REFERENCE, missing)
    unfit = _inactive(body, before, catalog) or _said_already(body, id_, catalog)
    if unfit is not None:
        return refuse(*unfit)
    facts: dict[str, Any] = body.model_dump() | {"id": id_, "version": max(version, last_version) + 1}
    after: Entity
    match body:
        case UserBody():
            holder = catalog.users_by_email.get(body.email.lower())
            if holder is not None and holder != id_:
                return refuse(Code.EMAIL_TAKEN, "/email")
            facts["active"] = _active(body, before)
            if not (facts["active"] and "admin" in body.roles) and _last_admin(catalog, id_):
                return refuse(Code.LAST_ADMIN)
            after = User(**facts, created_at=before.created_at if isinstance(before, User) else at)
        case DepartmentBody():
            after = Department(**facts)
        case CategoryBody():
            after = Category(**facts | {"active": _active(body, before)})
        case ReasonBody():
            after = Reason(**facts | {"active": _active(body, before)})
        case AssignmentBody():
            after = Assignment(**facts)
        case _:  # pragma: no cover - RulesBody is handled before
            raise TypeError(kind)
    return ReferenceDecision(kind, id_, action, after=after)


def _delegate(
    command: PutEntity, body: DelegationBody, catalog: Catalog, at: int, last_version: int
) -> ReferenceDecision:
    id_, action = command.entity_id, "delegation-created"
    # Nothing that happened already was done for somebody else: what is asked for from earlier on begins now.
    body = body.model_copy(update={"from_ms": max(body.from_ms, at)})
    refusal = refusal_of_new(body, catalog.delegations.all.get(id_), command.actor_id, catalog, at)
    if refusal is None and _stale(command, 0):
        refusal = Code.PRECONDITION_FAILED, None
    if refusal is not None:
        return ReferenceDecision(body.kind, id_, action, refusal=refusal[0], pointer=refusal[1])
    after = Delegation(**body.model_dump(), id=id_, version=last_version + 1)
    return ReferenceDecision(body.kind, id_, action, after=after)


def _missing(body: Any, catalog: Catalog) -> str | None:
    """Pointer to the first id in the body that does not exist."""
    named: dict[str, Mapping[str, Entity]] = {
        "department_id": catalog.departments,
        "category_id": catalog.categories,
        "approver_id": catalog.users,
    }
    for name, known in named.items():
        wanted = getattr(body, name, None)
        if wanted is not None and wanted not in known:
            return f"/{name}"
    return None


def _inactive(body: Any, before: Entity | None, catalog: Catalog) -> tuple[Code, str] | None:
    """What the body newly names that takes nothing new: the code, and the pointer to it."""

    def newly(name: str) -> Any:
        named = getattr(body, name, None)
        return None if named == getattr(before, name, None) else named

    category, approver = newly("category_id"), newly("approver_id")
    if category is not None and not catalog.categories[category].active:
        return Code.CATEGORY_INACTIVE, "/category_id"
    if approver is not None and not catalog.is_active(approver, "manager"):
        return Code.APPROVER_INACTIVE, "/approver_id"
    return None


def _said_already(body: Any, id_: str, catalog: Catalog) -> tuple[Code, None] | None:
    """Two assignments that say the same: taking one away would change nothing, and nobody would see why."""
    if isinstance(body, AssignmentBody):
        place = (body.category_id, body.level, body.approver_id, body.department_id, body.region)
        if any(one != id_ for one in catalog.assignments_saying(place)):
            return Code.ENTITY_EXISTS, None
    return None


def _active(body: UserBody | CategoryBody | ReasonBody, before: Entity | None) -> bool:
    return getattr(before, "active", True) if body.active is None else body.active


def _last_admin(catalog: Catalog, user_id: str) -> bool:
    return catalog.is_active(user_id, "admin") and not any(
        user.active and "admin" in user.roles and user.id != user_id for user in catalog.users.values()
    )


def _remove(command: RemoveEntity, catalog: Catalog) -> ReferenceDecision:
    kind, id_ = command.kind, command.entity_id
    vanishes = kind in ("assignment", "delegation")
    action = f"{kind}-deleted" if vanishes else f"{kind}-deactivated"
    before = catalog.find(kind, id_)

    def refuse(code: Code) -> ReferenceDecision:
        return ReferenceDecision(kind, id_, action, refusal=code)

    if kind == "delegation":
        refused = refusal_of_removal(catalog.delegations.all.get(id_), command.actor_id, catalog)
        if refused is not None:
            return refuse(refused)
    elif not _allowed(command, catalog):
        return refuse(Code.ACTOR_NOT_ALLOWED)
    if before is None:
        return refuse(Code.NOT_FOUND)
    if _stale(command, before.version):
        return refuse(Code.PRECONDITION_FAILED)
    if kind == "user" and _last_admin(catalog, id_):
        return refuse(Code.LAST_ADMIN)
    after = None if vanishes else before.model_copy(update={"active": False, "version": before.version + 1})
    return ReferenceDecision(kind, id_, action, after=after)


def _publish(command: PutEntity, body: RulesBody, catalog: Catalog, at: int, checking: Checking) -> ReferenceDecision:
    current = max(catalog.rules, default=0)
    id_, action = str(current + 1), "rules-published"

    def refuse(code: Code, findings: tuple[Finding, ...] = ()) -> ReferenceDecision:
        return ReferenceDecision("rules", id_, action, refusal=code, findings=findings)

    if not _allowed(command, catalog):
        return refuse(Code.ACTOR_NOT_ALLOWED)
    if _stale(command, current):
        return refuse(Code.PRECONDITION_FAILED)
    findings = checking(body.yaml, catalog)
    if any(finding.severity == "error" for finding in findings):
        return refuse(Code.RULES_INVALID, findings)
    after = Rules(
        id=id_,
        version=current + 1,
        author_id=command.actor_id,
        at=at,
        comment=body.comment,
        yaml=body.yaml,
        findings=tuple(finding.model_dump() for finding in findings),
    )
    return ReferenceDecision("rules", id_, action, after=after, findings=findings)
