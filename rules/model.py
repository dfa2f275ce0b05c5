"""The rules file as frozen values, and the findings about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from schemas.base import LEVELS, Level

__all__ = ["LEVELS", "Amount", "Finding", "Level", "Quorum", "Rule", "RulesFile", "RulesFileError", "When"]

Quorum = Literal["any", "all"] | int


class Finding(BaseModel):
    """One thing wrong (`error`) or worth knowing (`warning`), in the JSON of api.md. Lines and columns count from 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    severity: Literal["error", "warning"]
    code: str
    rule_ids: tuple[str, ...] = ()
    message: str
    line: int | None = None
    column: int | None = None
    example: dict[str, Any] | None = None

    @classmethod
    def about(
        cls,
        rule: Rule,
        code: str,
        message: str,
        *,
        error: bool,
        ids: tuple[str, ...] = (),
        example: dict[str, str] | None,
    ) -> Finding:
        """A finding where `rule` stands; `ids` are all rules concerned, if it is not this one alone."""
        return cls(
            severity="error" if error else "warning",
            code=code,
            rule_ids=ids or (rule.id,),
            message=message,
            line=rule.line,
            column=rule.column,
            example=None if example is None else dict(example),
        )


class RulesFileError(ValueError):
    """The text is no rules file. `findings` holds everything that was found wrong, in file order."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        super().__init__("; ".join(f"line {one.line}, column {one.column}: {one.message}" for one in findings[:5]))


@dataclass(frozen=True, slots=True)
class Amount:
    """Bounds in minor units of the base currency; each may be missing, and all that are there must hold."""

    lt: int | None = None
    lte: int | None = None
    gt: int | None = None
    gte: int | None = None

    @property
    def low(self) -> int:
        """The smallest amount inside, 0 without a lower bound."""
        return max(0 if self.gte is None else self.gte, 0 if self.gt is None else self.gt + 1)

    @property
    def high(self) -> int | None:
        """The largest amount inside, None without an upper bound."""
        bounds = [bound for bound in (self.lte, None if self.lt is None else self.lt - 1) if bound is not None]
        return min(bounds) if bounds else None


@dataclass(frozen=True, slots=True)
class When:
    """What a rule asks for. None matches everything; a tuple means any of; all five must match."""

    category: tuple[str, ...] | None = None
    department: tuple[str, ...] | None = None
    region: tuple[str, ...] | None = None
    currency: tuple[str, ...] | None = None
    amount: Amount | None = None

    @property
    def bounds(self) -> tuple[int, int | None]:
        """(low, high), both inside, in minor units of the base currency; high None is without end."""
        return (0, None) if self.amount is None else (self.amount.low, self.amount.high)


@dataclass(frozen=True, slots=True)
class Rule:
    """A route: the ascending levels and their quorums. Times in ms, None where the rule says nothing itself."""

    id: str
    when: When
    levels: tuple[Level, ...]
    quorum: Mapping[Level, Quorum] = field(default_factory=dict, hash=False)
    remind_after_ms: int | None = None
    escalate_after_ms: int | None = None
    line: int | None = field(default=None, compare=False)
    column: int | None = field(default=None, compare=False)

    def quorum_of(self, level: Level) -> Quorum:
        """The level's quorum, `any` unless the file says otherwise."""
        return self.quorum.get(level, "any")


@dataclass(frozen=True, slots=True)
class RulesFile:
    """A whole file that can be evaluated. `fx` holds base units for one unit; `default` matches everything."""

    schema: int
    base_currency: str
    rollback_window_ms: int
    fx: Mapping[str, Decimal] = field(hash=False)
    rules: tuple[Rule, ...]
    default: Rule
    remind_after_ms: int | None = None
    escalate_after_ms: int | None = None
    fx_positions: Mapping[str, tuple[int, int]] = field(default_factory=dict, hash=False, compare=False)

    def rate(self, currency: str) -> Decimal | None:
        """Base units for one unit of `currency`: 1 for the base itself, None for a currency without a rate."""
        return Decimal(1) if currency == self.base_currency else self.fx.get(currency)

    @property
    def currencies(self) -> tuple[str, ...]:
        """Every currency a request may be in: the base first, then those with a rate, in file order."""
        return (self.base_currency, *(code for code in self.fx if code != self.base_currency))

    def remind_after(self, rule: Rule) -> int | None:
        """Milliseconds until approvers of an open level are reminded: the rule's own, else the file's, else None."""
        return self.remind_after_ms if rule.remind_after_ms is None else rule.remind_after_ms

    def escalate_after(self, rule: Rule) -> int | None:
        """Milliseconds until the next level's pool may decide too: the rule's own, else the file's, else None."""
        return self.escalate_after_ms if rule.escalate_after_ms is None else rule.escalate_after_ms
