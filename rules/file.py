"""The rules file's shape: YAML text to `RulesFile`, or everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from rules.document import DocumentError, Node, read_document
from rules.model import LEVELS, Amount, Finding, Level, Quorum, Rule, RulesFile, RulesFileError, When
from schemas.money import EXPONENTS
from rules.parse import Reader

__all__ = ["MAX_RULES", "Amount", "Finding", "Rule", "RulesFile", "RulesFileError", "When", "parse_rules"]

MAX_RULES = 2_000
_DEFAULT_WINDOW_MS = 86_400_000
_TOP = ("schema", "base_currency", "rollback_window", "fx", "rules", "default", "remind_after", "escalate_after")
_ROUTE = ("id", "levels", "quorum", "remind_after", "escalate_after")
_WHEN = ("category", "department", "region", "currency", "amount")
_BOUNDS = ("lt", "lte", "gt", "gte")
_RULE_EXAMPLE = "{id: small-travel, when: {category: [travel]}, levels: [L1]}"
_DEFAULT_EXAMPLE = "{id: default, levels: [L1, L2]}"


def parse_rules(text: str) -> RulesFile:
    """Read a rules file (YAML 1.2, or JSON). Raises `RulesFileError` with every problem, each with line and column."""
    try:
        root = read_document(text)
    except DocumentError as error:
        raise RulesFileError(
            [Finding(severity="error", code=error.code, message=error.message, line=error.line, column=error.column)]
        ) from error
    shape = _Shape()
    file = shape.file(root)
    if file is None or shape.findings:
        raise RulesFileError(sorted(shape.findings, key=lambda one: (one.line or 0, one.column or 0)))
    return file


class _Shape(Reader):
    """What stands where. A part that cannot be read is left out, and the reading goes on to find the rest."""

    def __init__(self) -> None:
        super().__init__()
        self._base = "USD"
        self._known: set[str] = set()

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
        base = self._currency(top["base_currency"], "base_currency") if "base_currency" in top else None
        self._base = base or "USD"
        fx, positions = self._rates(top["fx"]) if "fx" in top else ({}, {})
        self._known = {self._base, *positions}
        rules = self._rules(top["rules"]) if "rules" in top else ()
        default = self._rule(top["default"], "default", default=True) if "default" in top else None
        self.rule_id = None
        if default is not None:
            self._distinct([*rules, default])
        else:
            self._distinct(rules)
        window = (
            self.duration(top["rollback_window"], "rollback_window") if "rollback_window" in top else _DEFAULT_WINDOW_MS
        )
        remind, escalate = self._times(top)
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

    def _currency(self, node: Node, name: str) -> str | None:
        code = self.word(node, name, "three capital letters such as EUR")
        if code is None:
            return None
        if code in EXPONENTS:
            return code
        self.refuse(
            node, "unknown-currency", f"`{code}` is no currency of ISO 4217: write three capital letters such as EUR."
        )
        return None

    def _rates(self, node: Node) -> tuple[dict[str, Decimal], dict[str, tuple[int, int]]]:
        fx: dict[str, Decimal] = {}
        positions: dict[str, tuple[int, int]] = {}
        if node.kind != "map":
            self.refuse(node, "wrong-type", '`fx` is not a mapping: write {EUR: "1.0850"}, or {} for none.')
            return fx, positions
        for key, value in self.pairs(node, "`fx`"):
            code = self._currency(key, "fx")
            if code is None:
                continue
            positions[code] = (key.line, key.column)
            rate = self.rate(value, code)
            if rate is None:
                continue
            if code == self._base and rate != 1:
                self.refuse(
                    value, "bad-value", f'{code} is the base currency, whose rate is 1: write "1" or remove it.'
                )
            fx[code] = rate
        return fx, positions

    def _rules(self, node: Node) -> tuple[Rule, ...]:
        items = self.items(node, "rules", f"[{_RULE_EXAMPLE}]")
        if items is None:
            return ()
        if len(items) > MAX_RULES:
            self.refuse(items[MAX_RULES], "too-large", f"There are {len(items)} rules: write at most {MAX_RULES}.")
            return ()
        found = [self._rule(item, f"rule {number}", default=False) for number, item in enumerate(items, 1)]
        return tuple(rule for rule in found if rule is not None)

    def _rule(self, node: Node, name: str, *, default: bool) -> Rule | None:
        self.rule_id = _peek_id(node)
        named = f"rule `{self.rule_id}`" if self.rule_id and not default else f"`{name}`" if default else name
        if default and node.kind == "map":
            for key, _ in node.value:
                if key.value == "when":
                    self.refuse(
                        key, "unknown-key", "`default` takes whatever is left: remove `when`, or make it a rule."
                    )
            kept = [pair for pair in node.value if pair[0].value != "when"]
            node = Node("map", kept, node.line, node.column)
        example = _DEFAULT_EXAMPLE if default else _RULE_EXAMPLE
        allowed = _ROUTE if default else ("id", "when", *_ROUTE[1:])
        keys = self.mapping(node, named, allowed=allowed, required=("id", "levels"), example=example)
        if keys is None:
            return None
        id_ = self.rule_name(keys["id"], "id") if "id" in keys else None
        when = self._when(keys["when"]) if "when" in keys else When()
        levels = self._levels(keys["levels"]) if "levels" in keys else None
        quorum = self._quorum(keys["quorum"], levels) if "quorum" in keys else {}
        remind, escalate = self._times(keys)
        if id_ is None:
            return None
        return Rule(id_, when, levels or ("L1",), quorum, remind, escalate, node.line, node.column)

    def _times(self, keys: dict[str, Node]) -> tuple[int | None, int | None]:
        remind = self.duration(keys["remind_after"], "remind_after") if "remind_after" in keys else None
        escalate = self.duration(keys["escalate_after"], "escalate_after") if "escalate_after" in keys else None
        return remind, escalate

    def _when(self, node: Node) -> When:
        keys = self.mapping(node, "`when`", allowed=_WHEN, example='{category: [travel], amount: {lt: "1000"}}')
        if keys is None:
            return When()
        lists = {
            name: self.words(keys[name], name, example)
            for name, example in (("category", "[travel]"), ("department", "[emea-sales]"), ("region", "[emea]"))
            if name in keys
        }
        return When(
            **lists,
            currency=self._currencies(keys["currency"]) if "currency" in keys else None,
            amount=self._amount(keys["amount"]) if "amount" in keys else None,
        )

    def _currencies(self, node: Node) -> tuple[str, ...] | None:
        items = self.items(node, "currency", "[EUR]")
        if items is None:
            return None
        found = []
        for item in items:
            code = self._currency(item, "currency")
            if code is not None and code not in self._known:
                self.refuse(
                    item,
                    "unknown-currency",
                    f"{code} has no rate, so no request can be in it: add it to `fx`, or remove it here.",
                )
            found.append(code)
        return tuple(dict.fromkeys(code for code in found if code is not None))

    def _amount(self, node: Node) -> Amount | None:
        example = '{gte: "1000", lt: "50000"}'
        keys = self.mapping(node, "`amount`", allowed=_BOUNDS, example=example)
        if keys is None:
            return None
        if not keys and not node.value:
            self.refuse(
                node, "empty-band", f"`amount` names no bound: write at least one, as in {example}, or remove it."
            )
            return None
        before = len(self.findings)
        found = Amount(**{name: self.bound(value, name, self._base) for name, value in keys.items()})
        if len(self.findings) == before and found.high is not None and found.low > found.high:
            self.refuse(
                node,
                "empty-band",
                f"There is no amount in this band: write a lower bound below the upper one, as in {example}.",
            )
        return found

    def _levels(self, node: Node) -> tuple[Level, ...] | None:
        items = self.items(node, "levels", "[L1, L2]")
        if items is None:
            return None
        found: list[Level] = []
        for item in items:
            level = next((one for one in LEVELS if item.kind == "str" and item.value == one), None)
            if level is None:
                self.refuse(item, "bad-value", f"`{item.text[:40]}` is no level: write L1, L2 or L3.")
            elif found and level <= found[-1]:
                self.refuse(
                    item,
                    "bad-value",
                    f"{level} comes after {found[-1]}: write each level once, lowest first, as in [L1, L2].",
                )
            else:
                found.append(level)
        return tuple(found) or None

    def _quorum(self, node: Node, levels: Sequence[Level] | None) -> dict[Level, Quorum]:
        keys = self.mapping(node, "`quorum`", allowed=LEVELS, example="{L2: 2}")
        found: dict[Level, Quorum] = {}
        for level in LEVELS:
            value = (keys or {}).get(level)
            if value is None:
                continue
            if levels is not None and level not in levels:
                self.refuse(value, "bad-value", f"The rule has no {level}: add it to `levels`, or remove its quorum.")
            if value.kind == "str" and value.value in ("any", "all"):
                found[level] = value.value
            elif value.kind == "int" and 1 <= value.value <= 20:
                found[level] = value.value
            else:
                self.refuse(
                    value,
                    "bad-value",
                    f"The quorum of {level} is {value.text[:40] or value.kind!r}: write any, all, or a whole number from 1 to 20 without quotes.",
                )
        return found

    def _distinct(self, rules: Sequence[Rule]) -> None:
        first: dict[str, Rule] = {}
        for rule in rules:
            if rule.id in first:
                self.findings.append(
                    Finding(
                        severity="error",
                        code="duplicate-id",
                        rule_ids=(rule.id,),
                        message=f"`{rule.id}` is the id of the rule in line {first[rule.id].line} already: write another one.",
                        line=rule.line,
                        column=rule.column,
                    )
                )
            first.setdefault(rule.id, rule)


def _peek_id(node: Node) -> str | None:
    """The id as written, to name the rule in findings about its other parts."""
    if node.kind != "map":
        return None
    return next((str(value.value) for key, value in node.value if key.value == "id" and value.kind == "str"), None)
