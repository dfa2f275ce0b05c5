"""Routing a new request: amount, rate, rule, levels and pools, all pinned in the event."""

from __future__ import annotations

from typing import Protocol

from rules.engine import Facts
from rules.model import Rule, RulesFile
from rules.staffing import can_staff, quorum_number, resolve_pool
from schemas.base import Level
from schemas.catalog import Catalog
from schemas.codes import Code
from schemas.commands import SubmitRequest
from schemas.events import PinnedLevel, Submitted
from schemas.money import convert_minor, parse_minor

#: The largest number that RFC 8785 carries exactly; only rates like 10,000 units for one come near it.
MAX_MINOR = 2**53 - 1


class ActiveRules(Protocol):
    """The rules file in force, ready to route."""

    @property
    def version(self) -> int: ...

    @property
    def file(self) -> RulesFile: ...

    def route(self, facts: Facts) -> Rule: ...


class SubmitContext(Protocol):
    """`at` is the log's time in ms; `rules` None: nothing was published yet."""

    @property
    def at(self) -> int: ...

    @property
    def catalog(self) -> Catalog: ...

    @property
    def rules(self) -> ActiveRules | None: ...


Verdict = tuple[Submitted | None, Code | None, str | None]


def _refused(code: Code, pointer: str | None = None) -> Verdict:
    return None, code, pointer


def resolve_level(
    context: SubmitContext, category_id: str, level: Level, department_id: str, region: str, *, excluded: str
) -> tuple[str, ...]:
    """The pool of a level now: the most specific assignments, less the requester and whoever is no active manager."""
    catalog = context.catalog
    named = resolve_pool(catalog.assignments_for(category_id), category_id, level, department_id, region)
    return tuple(person for person in named if person != excluded and catalog.is_active(person, "manager"))


def decide_submit(command: SubmitRequest, context: SubmitContext) -> Verdict:
    """The event of a new request, or why there is none: `(event, code, pointer)`."""
    catalog, rules = context.catalog, context.rules
    if not catalog.is_active(command.actor_id, "sales"):
        return _refused(Code.ACTOR_NOT_ALLOWED)
    requester = catalog.users[command.actor_id]
    department = catalog.departments.get(requester.department_id)
    category = catalog.categories.get(command.category_id)
    reason = catalog.reasons.get(command.reason_id)
    if category is None:
        return _refused(Code.UNKNOWN_REFERENCE, "/category_id")
    if reason is None:
        return _refused(Code.UNKNOWN_REFERENCE, "/reason_id")
    if not category.active:
        return _refused(Code.CATEGORY_INACTIVE)
    if not reason.active or reason.category_id not in (None, category.id):
        return _refused(Code.REASON_NOT_VALID)
    if rules is None or department is None:
        return _refused(Code.NO_APPROVER)
    file = rules.file
    rate = file.rate(command.currency)
    if rate is None:
        return _refused(Code.CURRENCY_NOT_SUPPORTED)
    amount = parse_minor(command.amount, command.currency)
    base = convert_minor(amount, command.currency, file.base_currency, rate)
    if max(amount, base) > MAX_MINOR:
        return _refused(Code.CURRENCY_NOT_SUPPORTED)
    rule = rules.route(Facts(category.id, department.id, department.region, command.currency, base))
    levels = []
    for level in rule.levels:
        pool = resolve_level(context, category.id, level, department.id, department.region, excluded=command.actor_id)
        wanted = rule.quorum.get(level, "any")
        levels.append(
            PinnedLevel(level=level, quorum=quorum_number(wanted, len(pool)), quorum_rule=str(wanted), approvers=pool)
        )
    needs = [(pinned.level, pinned.quorum, frozenset(pinned.approvers)) for pinned in levels]
    if any(not pinned.approvers for pinned in levels) or not can_staff(needs, frozenset((command.actor_id,))):
        return _refused(Code.NO_APPROVER)
    event = Submitted(
        version=1,
        at=context.at,
        actor_id=command.actor_id,
        command_id=command.command_id,
        department_id=department.id,
        region=department.region,
        category_id=category.id,
        reason_id=reason.id,
        title=command.title,
        description=command.description,
        amount_minor=amount,
        currency=command.currency,
        base_minor=base,
        base_currency=file.base_currency,
        fx_rate=str(rate),
        supersedes=command.supersedes,
        rules_version=rules.version,
        rule_id=rule.id,
        window_ms=file.rollback_window_ms,
        remind_after_ms=file.remind_after(rule),
        escalate_after_ms=file.escalate_after(rule),
        levels=tuple(levels),
    )
    return event, None, None
