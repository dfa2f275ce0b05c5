"""The rules file's shape: YAML text to `RulesFile`, or everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from rules.document import DocumentError, Node, read_document
from rules.model import Amount, Finding, Rule, RulesFile, RulesFileError, When
from rules.route import RULE_EXAMPLE, RuleReader
from schemas.money import EXPONENTS

__all__ = [
    "MAX_RULES",
    "MOST_FINDINGS",
    "Amount",
    "Finding",
    "Rule",
    "RulesFile",
    "RulesFileError",
    "When",
    "parse_rules",
]

MAX_RULES = 2_000
MOST_FINDINGS = 100
_DEFAULT_WINDOW_MS = 86_400_000
_TOP = ("schema", "base_currency", "rollback_window", "fx", "rules", "default", "remind_after", "escalate_after")


def parse_rules(text: str) -> RulesFile:
    """Read a rules file (YAML 1.2, or JSON). Raises `RulesFileError` with every problem
    (the first 100), each with line and column."""
    try:
        root = read_document(text)
    except DocumentError as error:
        raise RulesFileError(
            [Finding(severity="error", code=error.code, message=error.message, line=error.line, column=error.column)]
        ) from error
    shape = _Shape()
    file = shape.file(root)
    if file is None or shape.findings:
        raise RulesFileError(_told(sorted(shape.findings, key=lambda one: (one.line or 0, one.column or 0))))
    return file


def _told(findings: list[Finding]) -> list[Finding]:
    """The first `MOST_FINDINGS`, and one that counts them: all of them might be more than a message can hold."""
    if len(findings) <= MOST_FINDINGS:
        return findings
    text = f"{len(findings)} places are wrong; {MOST_FINDINGS} of them are told. Correct some, then check again."
    more = Finding(severity="error", code="too-many-errors", message=text)
    return [*findings[:MOST_FINDINGS], more]


class _Shape(RuleReader):
    """What stands where at the top."""

    def file(self, root: Node) -> RulesFile | None:
        top = self.mapping(
            root,
            "the file",
            allowed=_TOP,
            required=("schema", "base_currency", "default"),
            example="the example of the documentation",
        )
        if top is None:
            return None
        if (schema := top.get("schema")) is not None and (schema.kind != "int" or schema.value != 1):
            self.refuse(
                schema, "bad-value", f"`schema` is {schema.text[:40] or schema.kind!r}: write 1, the only one there is."
            )
        base = self.currency(top["base_currency"], "base_currency") if "base_currency" in top else None
        self.base = base or self.base
        fx, positions = self._rates(top["fx"], base) if "fx" in top else ({}, {})
        self.known = {base, *positions} if base else set(EXPONENTS)
        rules = self._rules(top["rules"]) if "rules" in top else ()
        default = self.rule(top["default"], "default", default=True) if "default" in top else None
        self.rule_id = None
        if default is not None:
            self._distinct([*rules, default])
        else:
            self._distinct(rules)
        window = (
            self.duration(top["rollback_window"], "rollback_window") if "rollback_window" in top else _DEFAULT_WINDOW_MS
        )
        remind, escalate = self.times(top)
        if base is None or default is None or window is None:
            return None
        return RulesFile(
            schema=1,
            base_currency=base,
            rollback_window_ms=window,
            fx=fx,
            rules=tuple(rules),
            default=default,
            remind_after_ms=remind,
            escalate_after_ms=escalate,
            fx_positions=positions,
        )

    def _rates(self, node: Node, base: str | None) -> tuple[dict[str, Decimal], dict[str, tuple[int, int]]]:
        fx: dict[str, Decimal] = {}
        positions: dict[str, tuple[int, int]] = {}
        if node.kind != "map":
            self.refuse(node, "wrong-type", '`fx` is not a mapping: write {EUR: "1.0850"}, or {} for none.')
            return fx, positions
        for key, value in self.pairs(node, "`fx`"):
            code = self.currency(key, "fx")
            if code is None:
                continue
            positions[code] = (key.line, key.column)
            rate = self.rate(value, code)
            if rate is None:
                continue
            if code == base and rate != 1:
                self.refuse(
                    value, "bad-value", f'{code} is the base currency, whose rate is 1: write "1" or remove it.'
                )
            fx[code] = rate
        return fx, positions

    def _rules(self, node: Node) -> tuple[Rule, ...]:
        items = self.items(node, "rules", f"[{RULE_EXAMPLE}]")
        if items is None:
            return ()
        if len(items) > MAX_RULES:
            self.refuse(items[MAX_RULES], "too-large", f"There are {len(items)} rules: write at most {MAX_RULES}.")
            return ()
        found = [self.rule(item, f"rule {number}", default=False) for number, item in enumerate(items, 1)]
        return tuple(rule for rule in found if rule is not None)

    def _distinct(self, rules: Sequence[Rule]) -> None:
        first: dict[str, Rule] = {}
        for rule in rules:
            if rule.id in first:
                text = f"`{rule.id}` is the id of the rule in line {first[rule.id].line} already: write another one."
                self.findings.append(Finding.about(rule, "duplicate-id", text, error=True, example=None))
            first.setdefault(rule.id, rule)
