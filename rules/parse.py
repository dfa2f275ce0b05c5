"""Typed reading of located nodes: a method answers the value, or None once it has noted what is wrong and where."""

from __future__ import annotations

import re
from decimal import Decimal

from rules.document import Node
from rules.model import Finding
from schemas.money import MoneyError, exponent_of, format_minor, parse_bound

_DURATION = re.compile(r"([1-9][0-9]{0,8})(s|m|h|d)")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_MS = 30 * _UNIT_MS["d"]
_RATE = re.compile(r"(0|[1-9][0-9]{0,11})(\.[0-9]{1,12})?")
_ID = re.compile(r"[a-z0-9-]{1,64}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_KINDS = {
    "map": "a mapping",
    "list": "a list",
    "str": "a word",
    "int": "a number",
    "float": "a decimal number",
    "bool": "true or false",
    "null": "nothing",
}


class Reader:
    """Collects findings; `rule_id` is the rule that is being read, if its id is known."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.rule_id: str | None = None

    def refuse(self, node: Node, code: str, message: str) -> None:
        """One error at `node`."""
        ids = (self.rule_id,) if self.rule_id is not None else ()
        self.findings.append(
            Finding(severity="error", code=code, rule_ids=ids, message=message, line=node.line, column=node.column)
        )

    def _not(self, node: Node, name: str, write: str) -> None:
        found = f"`{node.text}`, {_KINDS[node.kind]}" if node.text else _KINDS[node.kind]
        self.refuse(node, "wrong-type", f"`{name}` is {found[:120]}: write {write}.")

    def mapping(
        self, node: Node, name: str, *, allowed: tuple[str, ...], required: tuple[str, ...] = (), example: str
    ) -> dict[str, Node] | None:
        """The values by key; unknown, repeated and missing keys are refused."""
        if node.kind != "map":
            self._not(node, name, f"a mapping such as {example}")
            return None
        found: dict[str, Node] = {}
        for key, value in self.pairs(node, name):
            if key.value in allowed:
                found[key.value] = value
            else:
                choice = ", ".join(f"`{one}`" for one in allowed)
                self.refuse(
                    key, "unknown-key", f"`{key.text[:80]}` is no key of {name}: write one of {choice}, or remove it."
                )
        for key_name in required:
            if key_name not in found:
                self.refuse(node, "missing-key", f"{name} has no `{key_name}`: write it, as in {example}.")
        return found

    def pairs(self, node: Node, name: str) -> list[tuple[Node, Node]]:
        """The (key, value) nodes of a mapping whose keys are words, each once."""
        found: dict[str, tuple[Node, Node]] = {}
        for key, value in node.value:
            if key.kind != "str":
                written = f"`{key.text}`" if key.text else _KINDS[key.kind]
                self.refuse(
                    key, "wrong-type", f"A key of {name} is {written[:80]}: write a word, in quotes if need be."
                )
            elif key.value in found:
                first = found[key.value][0].line
                self.refuse(
                    key, "duplicate-key", f"`{key.text[:80]}` stands in line {first} already: write it once in {name}."
                )
            else:
                found[key.value] = (key, value)
        return list(found.values())

    def items(self, node: Node, name: str, example: str) -> list[Node] | None:
        """The nodes of a list that is not empty."""
        if node.kind != "list":
            self._not(node, name, f"a list such as {example}")
            return None
        if not node.value:
            self.refuse(
                node,
                "empty-list",
                f"`{name}` is an empty list: write at least one entry, as in {example}, or remove it.",
            )
            return None
        return list(node.value)

    def word(self, node: Node, name: str, example: str) -> str | None:
        """A string of 1 to 64 characters without control characters."""
        if node.kind != "str":
            quoted = f'"{node.text}" in quotes' if node.kind in ("int", "float", "bool") else example
            self._not(node, name, quoted)
            return None
        if not 1 <= len(node.value) <= 64 or _CONTROL.search(node.value):
            self.refuse(node, "bad-value", f"`{name}` must be 1 to 64 visible characters: write {example}.")
            return None
        return str(node.value)

    def words(self, node: Node, name: str, example: str) -> tuple[str, ...] | None:
        """A list of words that is not empty; a word that comes twice counts once."""
        items = self.items(node, name, example)
        if items is None:
            return None
        found = [self.word(item, f"{name}", example.strip("[]").split(",")[0]) for item in items]
        return tuple(dict.fromkeys(one for one in found if one is not None))

    def rule_name(self, node: Node, name: str) -> str | None:
        """`[a-z0-9-]{1,64}`."""
        if node.kind != "str":
            self.word(node, name, "an id such as small-travel")
            return None
        if not _ID.fullmatch(node.value):
            self.refuse(
                node,
                "bad-value",
                f"`{node.text[:80]}` is no rule id: write 1 to 64 small letters, digits or hyphens, like small-travel.",
            )
            return None
        return str(node.value)

    def duration(self, node: Node, name: str) -> int | None:
        """`90s`, `15m`, `24h`, `30d` in milliseconds, 1 s to 30 days."""
        if node.kind == "str" and (match := _DURATION.fullmatch(node.value)):
            found = int(match.group(1)) * _UNIT_MS[match.group(2)]
            if found <= _LONGEST_MS:
                return found
            self.refuse(node, "bad-value", f"`{name}` is {node.text}, longer than 30 days: write 30d or less.")
        elif node.kind == "int" and 0 < node.value <= _LONGEST_MS:
            self.refuse(
                node, "wrong-type", f"`{name}` is a number without a unit: write {node.value}s, or use m, h or d."
            )
        else:
            written = f"`{node.text[:40]}`" if node.text else _KINDS[node.kind]
            self.refuse(
                node,
                "bad-value",
                f"`{name}` is {written}: write a whole number and s, m, h or d (1s to 30d), such as 24h.",
            )
        return None

    def bound(self, node: Node, name: str, currency: str) -> int | None:
        """An amount in quotes, in minor units of `currency`; zero is allowed."""
        if node.kind in ("int", "float"):
            self.refuse(
                node,
                "money-not-quoted",
                f'`{name}` is a number, and money never is one here: write "{node.text[:40]}" in quotes.',
            )
            return None
        if node.kind != "str":
            self._not(
                node,
                name,
                f'an amount in quotes such as "{format_minor(10 ** exponent_of(currency) * 1000, currency)}"',
            )
            return None
        try:
            return parse_bound(node.value, currency)
        except MoneyError as error:
            self.refuse(node, "bad-value", f"`{name}`: {error}.")
            return None

    def rate(self, node: Node, name: str) -> Decimal | None:
        """A rate in quotes, above zero, at most 12 digits before and after the point."""
        if node.kind in ("int", "float"):
            self.refuse(
                node,
                "money-not-quoted",
                f'The rate of {name} is a number, not text: write "{node.text[:40]}" in quotes.',
            )
            return None
        if node.kind != "str":
            self._not(node, f"fx.{name}", 'a rate in quotes such as "1.0850"')
            return None
        if not _RATE.fullmatch(node.value) or Decimal(node.value) == 0:
            self.refuse(
                node,
                "bad-value",
                f'"{node.text[:40]}" is no rate for {name}: write a decimal above zero such as "1.0850", with at most '
                "12 digits before the point and 12 after it.",
            )
            return None
        return Decimal(node.value)
