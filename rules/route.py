"""One rule of the file, or the default: its route and its conditions."""

from __future__ import annotations

from collections.abc import Sequence

from rules.document import Node
from rules.model import LEVELS, Amount, Level, Quorum, Rule, When
from rules.parse import Reader
from schemas.money import EXPONENTS

_ROUTE = ("id", "levels", "quorum", "remind_after", "escalate_after")
_WHEN = ("category", "department", "region", "currency", "amount")
_BOUNDS = ("lt", "lte", "gt", "gte")
RULE_EXAMPLE = "{id: small-travel, when: {category: [travel]}, levels: [L1]}"
_DEFAULT_EXAMPLE = "{id: default, levels: [L1, L2]}"


class RuleReader(Reader):
    """A part that cannot be read is left out, and the reading goes on to find the rest. `base` is the base currency,
    `known` are the currencies a rule may name."""

    def __init__(self) -> None:
        super().__init__()
        self.base = "USD"
        self.known: set[str] = set()

    def currency(self, node: Node, name: str) -> str | None:
        """A code of ISO 4217."""
        code = self.word(node, name, "three capital letters such as EUR")
        if code is None:
            return None
        if code in EXPONENTS:
            return code
        self.refuse(
            node, "unknown-currency", f"`{code}` is no currency of ISO 4217: write three capital letters such as EUR."
        )
        return None

    def rule(self, node: Node, name: str, *, default: bool) -> Rule | None:
        """A rule, or None without an id to name it by."""
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
        example = _DEFAULT_EXAMPLE if default else RULE_EXAMPLE
        allowed = _ROUTE if default else ("id", "when", *_ROUTE[1:])
        keys = self.mapping(node, named, allowed=allowed, required=("id", "levels"), example=example)
        if keys is None:
            return None
        id_ = self.rule_name(keys["id"], "id") if "id" in keys else None
        when = self._when(keys["when"]) if "when" in keys else When()
        levels = self._levels(keys["levels"]) if "levels" in keys else None
        quorum = self._quorum(keys["quorum"], levels) if "quorum" in keys else {}
        remind, escalate = self.times(keys)
        if id_ is None:
            return None
        return Rule(id_, when, levels or ("L1",), quorum, remind, escalate, node.line, node.column)

    def times(self, keys: dict[str, Node]) -> tuple[int | None, int | None]:
        """(remind_after, escalate_after) in milliseconds."""
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
            code = self.currency(item, "currency")
            if code is not None and code not in self.known:
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
        found = Amount(**{name: self.bound(value, name, self.base) for name, value in keys.items()})
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
            word, number = value.kind == "str", value.kind == "int"
            if (word and value.value in ("any", "all")) or (number and 1 <= value.value <= 20):
                found[level] = value.value
            else:
                self.refuse(
                    value,
                    "bad-value",
                    f"The quorum of {level} is {value.text[:40] or value.kind!r}: write any, all, or a whole number "
                    "from 1 to 20 without quotes.",
                )
        return found


def _peek_id(node: Node) -> str | None:
    """The id as written, to name the rule in findings about its other parts."""
    if node.kind != "map":
        return None
    return next((str(value.value) for key, value in node.value if key.value == "id" and value.kind == "str"), None)
