"""What is different between two published rules files: line by line, and rule by rule."""

from __future__ import annotations

import re
from bisect import bisect_left
from difflib import unified_diff
from typing import Any

from rules.file import parse_rules
from rules.model import Rule, RulesFile, RulesFileError

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_TOP = ("base_currency", "rollback_window_ms", "fx", "remind_after_ms", "escalate_after_ms", "default")


def difference(before: str, after: str, names: tuple[str, str]) -> dict[str, Any]:
    """`text` is a unified diff; `rules` names rules that came, went, read otherwise now, or only stand in another place; `settings`
    the other keys of the file that differ."""
    lines = unified_diff(_LINE.findall(before), _LINE.findall(after), fromfile=names[0], tofile=names[1])
    text = "".join(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines)
    one, other = _read(before), _read(after)
    return {"text": text, "rules": _by_rule(one.rules, other.rules), "settings": _settings(one, other)}


def _read(text: str) -> RulesFile:
    try:
        return parse_rules(text)
    except RulesFileError:
        # A file on somebody's disk; the lines are compared all the same.
        return parse_rules("{schema: 1, base_currency: USD, default: {id: unreadable, levels: [L1]}}")


def _by_rule(before: tuple[Rule, ...], after: tuple[Rule, ...]) -> dict[str, list[str]]:
    was = {rule.id: rule for rule in before}
    now = {rule.id: rule for rule in after}
    both = [id_ for id_ in now if id_ in was]
    places = {id_: place for place, id_ in enumerate(was)}
    stayed = _longest_ascending([places[id_] for id_ in both])
    return {
        "added": [id_ for id_ in now if id_ not in was],
        "removed": [id_ for id_ in was if id_ not in now],
        "changed": [id_ for id_ in both if _facts(was[id_]) != _facts(now[id_])],
        "moved": [id_ for id_ in both if places[id_] not in stayed],
    }


def _longest_ascending(numbers: list[int]) -> set[int]:
    """The most of them that ascend as they stand: those that did not move, when as few as possible have."""
    ends: list[int] = []
    before: dict[int, int | None] = {}
    for number in numbers:
        at = bisect_left(ends, number)
        before[number] = ends[at - 1] if at else None
        ends[at:] = [number, *ends[at + 1 :]]
    found, last = set(), ends[-1] if ends else None
    while last is not None:
        found.add(last)
        last = before[last]
    return found


def _facts(rule: Rule) -> tuple[Any, ...]:
    return rule.when, rule.levels, dict(rule.quorum), rule.remind_after_ms, rule.escalate_after_ms


def _settings(before: RulesFile, after: RulesFile) -> list[str]:
    def read(file: RulesFile, name: str) -> Any:
        value = getattr(file, name)
        return (value.id, _facts(value)) if isinstance(value, Rule) else value

    return [name.removesuffix("_ms") for name in _TOP if read(before, name) != read(after, name)]
