"""A small organisation for tests of the core: users, places, pools, rules, and commands with everything filled in."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from rules.engine import Facts
from rules.model import Quorum, Rule, RulesFile, When
from schemas.base import Level
from schemas.catalog import Catalog
from schemas.commands import (
    Approve,
    CloseWindow,
    Comment,
    Escalate,
    Reassign,
    Reject,
    Remind,
    Rollback,
    SubmitRequest,
    Withdraw,
)
from schemas.reference import Assignment, Category, Department, Reason, Role, User

SPACE = uuid.UUID(int=11)
START = 1_780_000_000_000
HOUR = 3_600_000
REQUEST_ID = str(uuid.uuid5(SPACE, "request"))
_numbers = itertools.count(1)


def new_id(name: str = "") -> str:
    """A new UUID in each call."""
    return str(uuid.uuid5(SPACE, f"{name} {next(_numbers)}"))


@dataclass
class FixedRules:
    """Rules in force that route everything one way."""

    file: RulesFile
    version: int = 7

    def route(self, facts: Facts) -> Rule:
        return self.file.default


def fixed_rules(
    levels: Sequence[Level] = ("L1", "L2", "L3"),
    quorum: Mapping[Level, Quorum] | None = None,
    window_ms: int = 24 * HOUR,
    fx: Mapping[str, str] | None = None,
    base: str = "USD",
    remind_after: int | None = None,
    escalate_after: int | None = None,
) -> FixedRules:
    rates = {code: Decimal(rate) for code, rate in (fx or {"EUR": "1.0850", "JPY": "0.0067"}).items()}
    default = Rule(id="default", when=When(), levels=tuple(levels), quorum=dict(quorum or {}))
    return FixedRules(
        RulesFile(
            schema=1,
            base_currency=base,
            rollback_window_ms=window_ms,
            fx=rates,
            rules=(),
            default=default,
            remind_after_ms=remind_after,
            escalate_after_ms=escalate_after,
        )
    )


@dataclass
class Context:
    """`rules.decide.Context` with values that a test sets."""

    catalog: Catalog
    rules: FixedRules | None = field(default_factory=fixed_rules)
    at: int = START


def user(id_: str, *roles: Role, active: bool = True, version: int = 1) -> User:
    return User(
        id=id_, version=version, email=f"{id_}@example.com", name=id_, roles=roles, department_id="sales-de", active=active
    )  # fmt: skip


#: Who may decide at each level.
POOLS: dict[Level, tuple[str, ...]] = {"L1": ("ann", "bob"), "L2": ("cid", "dee"), "L3": ("eve", "fay")}


def assignment(
    level: Level, approver: str, *, category: str = "travel", department: str | None = None, region: str | None = None
) -> Assignment:
    return Assignment(
        id=f"{category}-{level}-{approver}-{department or region or 'all'}",
        version=1,
        category_id=category,
        level=level,
        approver_id=approver,
        department_id=department,
        region=region,
    )


def catalog(pools: Mapping[Level, Sequence[str]] | None = None) -> Catalog:
    """Sam and Tom sell, Ann to Fay manage, Root administers, Aud audits; categories `travel`, `food` and `closed`."""
    made = Catalog()
    made.put(Department(id="sales-de", version=1, name="Sales Germany", region="emea"))
    made.put(Department(id="sales-us", version=1, name="Sales USA", region="amer"))
    for id_ in ("sam", "tom"):
        made.put(user(id_, "sales"))
    for id_ in ("ann", "bob", "cid", "dee", "eve", "fay"):
        made.put(user(id_, "manager"))
    made.put(user("root", "admin"))
    made.put(user("aud", "auditor"))
    for id_ in ("travel", "food"):
        made.put(Category(id=id_, version=1, name=id_))
    made.put(Category(id="closed", version=1, name="closed", active=False))
    made.put(Reason(id="fair", version=1, text="A fair", category_id="travel"))
    made.put(Reason(id="any", version=1, text="Anything", category_id=None))
    made.put(Reason(id="old", version=1, text="Old", category_id="travel", active=False))
    made.put(Reason(id="lunch", version=1, text="Lunch", category_id="food"))
    for level, people in (POOLS if pools is None else pools).items():
        for person in people:
            made.put(assignment(level, person))
    return made


def facts(actor: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "command_id": new_id("command"),
        "request_id": REQUEST_ID,
        "actor_id": actor,
        "correlation_id": "correlation-1",
        "salt": "00112233445566778899aabbccddeeff",
    } | fields


def submit(actor: str = "sam", **fields: Any) -> SubmitRequest:
    content = {
        "category_id": "travel", "reason_id": "fair", "title": "Booth at the fair", "description": "Three days",
        "amount": "1250.00", "currency": "EUR",
    }  # fmt: skip
    return SubmitRequest(**facts(actor, content | fields))


def approve(actor: str, **fields: Any) -> Approve:
    return Approve(**facts(actor, fields))


def reject(actor: str, **fields: Any) -> Reject:
    return Reject(**facts(actor, {"comment": "Too much"} | fields))


def rollback(actor: str, **fields: Any) -> Rollback:
    return Rollback(**facts(actor, fields))


def withdraw(actor: str = "sam", **fields: Any) -> Withdraw:
    return Withdraw(**facts(actor, fields))


def comment(actor: str = "sam", text: str = "When?", **fields: Any) -> Comment:
    return Comment(**facts(actor, {"text": text} | fields))


def reassign(level: Level, actor: str = "root", **fields: Any) -> Reassign:
    return Reassign(**facts(actor, {"level": level} | fields))


def close(decision_version: int, actor: str = "system", **fields: Any) -> CloseWindow:
    return CloseWindow(**facts(actor, {"decision_version": decision_version} | fields))


def remind(opened_version: int, actor: str = "system", **fields: Any) -> Remind:
    return Remind(**facts(actor, {"opened_version": opened_version} | fields))


def escalate(opened_version: int, actor: str = "system", **fields: Any) -> Escalate:
    return Escalate(**facts(actor, {"opened_version": opened_version} | fields))
