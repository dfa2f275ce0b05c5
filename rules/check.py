"""The check before a rules file takes effect: what can never match, what nobody could decide, what is worth knowing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rules.cells import bits
from rules.leftover import Leftover
from rules.model import Finding, Rule, RulesFile
from rules.overlap import overlaps
from rules.reach import Converted, Place, Reach
from rules.staffing import AssignmentLike
from rules.unstaffed import Unstaffed
from schemas.catalog import Catalog

_LIMIT = 2**63
#: Findings of one kind that are told one by one; the rest are counted. A published version carries its findings.
_MOST = 100
#: Groups of cases that are looked at to name who takes an unreachable rule's; beyond, the list may miss some.
_LOOKS = 300


@dataclass(frozen=True, slots=True)
class Reference:
    """The organisation a file is checked against: ids of active categories, departments as (id, region), assignments,
    ids of active managers, and who may file requests as (user id, department id) (None: anybody in any department)."""

    categories: Sequence[str]
    departments: Sequence[Place]
    assignments: Iterable[AssignmentLike]
    managers: Collection[str]
    requesters: Sequence[tuple[str, str]] | None = None

    @classmethod
    def of(cls, catalog: Catalog) -> Reference:
        """The reference data as they stand in `catalog`."""
        users = [user for user in catalog.users.values() if user.active]
        return cls(
            categories=sorted(one.id for one in catalog.categories.values() if one.active),
            departments=sorted((one.id, one.region) for one in catalog.departments.values()),
            assignments=tuple(catalog.assignments.values()),
            managers=frozenset(user.id for user in users if "manager" in user.roles),
            requesters=sorted((user.id, user.department_id) for user in users if "sales" in user.roles),
        )


def check(file: RulesFile, reference: Reference) -> list[Finding]:
    """Every error and warning about `file` for this organisation, errors first, then in file order. Exact: a case is an
    error or a warning if and only if a request could meet it. At most 100 findings of one code, and one that
    counts the rest.

    Errors: `unreachable-rule`, `unstaffable-route`, `amount-overflow`. Warnings: `unstaffable-for-requester`,
    `default-only`, `overlapping-rules`, `unknown-reference`, `nothing-to-check`.
    """
    findings = _overflows(file)
    if not reference.categories or not reference.departments:
        missing = "category" if not reference.categories else "department"
        text = f"There is no active {missing} yet, so the rules cannot be checked: add one first."
        return [*findings, Finding(severity="warning", code="nothing-to-check", message=text)]
    reach = Reach(file, reference.categories, reference.departments)
    staffing = Unstaffed(reach, reference.assignments, reference.managers, reference.requesters)
    leftover = Leftover(reach)
    for group in reach.groups():
        staffing.add(group)
        leftover.add(group)
    never = [index for index in range(len(file.rules)) if not reach.reached >> index & 1]
    unreachable = [_unreachable(reach, index, reference) for index in never[:_MOST]]
    findings += _capped(unreachable, "error", "unreachable-rule", "rules can never match", len(never))
    findings += _capped(
        staffing.errors(), "error", "unstaffable-route", "rules have a route that cannot be staffed everywhere"
    )
    what = "rules have a route that cannot be staffed for some requesters"
    findings += _capped(staffing.warnings(), "warning", "unstaffable-for-requester", what)
    findings += _capped(_unknown(reach, reference), "warning", "unknown-reference", "rules name what is not there")
    pairs, count = overlaps(reach, _MOST)
    findings += _capped(pairs, "warning", "overlapping-rules", "pairs of rules overlap", count)
    findings += _capped(
        leftover.findings(), "warning", "default-only", "groups of cases are caught by the default only"
    )
    return sorted(findings, key=lambda one: (one.severity != "error", one.line or 0, one.column or 0))


def _overflows(file: RulesFile) -> list[Finding]:
    found = []
    for currency in (Converted(file, code) for code in file.currencies):
        if currency.largest >= _LIMIT:
            code, base = currency.currency, file.base_currency
            line, column = file.fx_positions.get(code, (None, None))
            case = {"currency": code, "amount": currency.most}
            text = (
                f"At this rate {currency.most} {code} would pass 2^63 minor units of {base}, more than can be computed "
                f"with: write a lower rate for {code}, or choose a base currency of greater value."
            )
            found.append(
                Finding(severity="error", code="amount-overflow", message=text, line=line, column=column, example=case)
            )
    return found


def _unreachable(reach: Reach, index: int, reference: Reference) -> Finding:
    rule = reach.rule(index)
    takers, ids = 0, [rule.id]
    example: dict[str, str] | None = None
    for looks, shadow in enumerate(reach.shadows(index)):
        if shadow.bands and example is None:
            example = reach.case_in(shadow, shadow.bands)
        for earlier, _ in shadow.taken:
            takers |= 1 << earlier
        if looks >= _LOOKS and takers:
            break
    if takers:
        ids += [reach.rule(earlier).id for earlier in bits(takers)]
        more = f" and {len(ids) - 11} more" if len(ids) > 11 else ""
        named = ", ".join(f"`{one}`" for one in ids[1:11]) + more
        text = f"{named} above it {'takes' if len(ids) == 2 else 'take'} all of its cases. Move it up, or remove it."
    else:
        why = _missing(rule, reference) or "no department, region, currency and amount that exist together meet it"
        text = f"{why}. Correct its `when`, or remove it."
    text = f"`{rule.id}` can never match: {text}"
    return Finding.about(rule, "unreachable-rule", text, error=True, ids=tuple(ids[:11]), example=example)


def _unknown(reach: Reach, reference: Reference) -> list[Finding]:
    found = []
    for index in bits(reach.reached):
        rule = reach.rule(index)
        if missing := _missing(rule, reference):
            text = f"`{rule.id}`: {missing}. Correct the name, or remove it."
            found.append(Finding.about(rule, "unknown-reference", text, error=False, example=None))
    return found


def _missing(rule: Rule, reference: Reference) -> str:
    """What the rule names although it is not there, as a sentence without its end."""
    there = (
        ("active category", rule.when.category, reference.categories),
        ("department", rule.when.department, [place[0] for place in reference.departments]),
        ("region with a department", rule.when.region, [place[1] for place in reference.departments]),
    )
    parts = []
    for word, names, known in there:
        gone = sorted(set(names or ()).difference(known))
        if gone:
            parts.append(f"there is no {word} " + ", ".join(f"`{name}`" for name in gone[:10]))
    return "; ".join(parts)


def _capped(
    findings: list[Finding], severity: Literal["error", "warning"], code: str, what: str, count: int | None = None
) -> list[Finding]:
    total = len(findings) if count is None else count
    if total <= _MOST:
        return findings
    text = f"{total} {what}; {_MOST} of them are told. Correct some, then check again to see the others."
    return [*findings[:_MOST], Finding(severity=severity, code=code, message=text)]
