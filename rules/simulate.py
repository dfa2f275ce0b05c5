"""A candidate rules file against requests on record: where each would go, and what that costs and spares."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rules.check import Reference
from rules.engine import Facts, RulesEngine
from rules.model import LEVELS, Rule, RulesFile
from rules.staffing import Pools, can_staff, quorum_number
from rules.submit import MAX_MINOR
from schemas.money import convert_minor, format_minor

#: Request ids shown for each pair of rules, and pairs of rules shown; `rerouted` counts all.
EXAMPLES = 5
MOST_PAIRS = 1_000
#: Answers of the engine kept: requests that no rule tells apart are asked about once.
_KEPT = 200_000
_HOUR_MS = 3_600_000
_ESCAPES = ("L2", "L3")


@dataclass(slots=True)
class _Pair:
    count: int = 0
    examples: list[str] = field(default_factory=list)


class Simulation:
    """Adds up requests one by one: memory grows with pairs of rules and kinds of requests, not with requests.

    A request is routed by its own facts at its submit (category, department, region, currency, amount), converted by the
    candidate's rates; quorums `all` and staffing are those of `reference`, today's assignments.
    """

    def __init__(self, file: RulesFile, reference: Reference) -> None:
        self._file = file
        self._engine = RulesEngine(file, 0)
        self._pools = Pools(reference.assignments)
        self._managers = frozenset(reference.managers)
        self._routes: dict[tuple[Any, ...], Rule] = {}
        self._staffed: dict[tuple[Any, ...], tuple[bool, tuple[int, ...]]] = {}
        self._pairs: dict[tuple[str, str], _Pair] = defaultdict(_Pair)
        self._approvals = {level: [0, 0] for level in LEVELS}
        self._escaped = {level: [0, 0] for level in _ESCAPES}
        self._refused = {"currency-not-supported": 0, "no-approver": 0}
        self.requests = 0
        self.rerouted = 0

    def add(self, request_id: str, event: Mapping[str, Any]) -> None:
        """One request, by its `Submitted` event as JSON."""
        self.requests += 1
        before = [(one["level"], int(one["quorum"])) for one in event["levels"]]
        rate = self._file.rate(event["currency"])
        base = 0 if rate is None else convert_minor(
            event["amount_minor"], event["currency"], self._file.base_currency, rate
        )  # fmt: skip
        if rate is None or base > MAX_MINOR:
            # It would not be let in any more: nothing of it is spared or escapes.
            self._refused["currency-not-supported"] += 1
            return
        rule = self._route(event, base)
        staffed, quorums = self._staffing(event, rule)
        if not staffed:
            self._refused["no-approver"] += 1
            return
        for level, quorum in before:
            self._approvals[level][0] += quorum
        for level, quorum in zip(rule.levels, quorums, strict=True):
            self._approvals[level][1] += quorum
        passed = {level for level, _ in before}
        for level in _ESCAPES:
            if level in passed and level not in rule.levels:
                self._escaped[level][0] += 1
                self._escaped[level][1] += base
        spec = [(one["level"], _said(one["quorum_rule"])) for one in event["levels"]]
        if event["rule_id"] != rule.id or spec != [(level, _said(rule.quorum_of(level))) for level in rule.levels]:
            self.rerouted += 1
            pair = self._pairs[event["rule_id"], rule.id]
            pair.count += 1
            if len(pair.examples) < EXAMPLES:
                pair.examples.append(request_id)

    def result(self, decision_ms: Mapping[str, int]) -> dict[str, Any]:
        """The sums, in the JSON of api.md. `decision_ms`: by level, how long a vote takes; `approver_hours` multiplies."""
        pairs = sorted(self._pairs.items(), key=lambda one: (-one[1].count, one[0]))[:MOST_PAIRS]
        base = self._file.base_currency
        hours = [
            sum(self._approvals[level][side] * decision_ms.get(level, 0) for level in LEVELS) / _HOUR_MS
            for side in (0, 1)
        ]
        return {
            "requests": self.requests,
            "rerouted": self.rerouted,
            "by_rule": [
                {"from": was, "to": now, "count": pair.count, "examples": pair.examples} for (was, now), pair in pairs
            ],
            "approvals": {
                level: dict(zip(("before", "after"), self._approvals[level], strict=True)) for level in LEVELS
            },
            "escaped": {
                level: {"count": count, "base_amount": {"amount": format_minor(money, base), "currency": base}}
                for level, (count, money) in self._escaped.items()
            },
            "refused": dict(self._refused),
            "approver_hours": {
                "before": round(hours[0], 1),
                "after": round(hours[1], 1),
                "median_hours": {
                    level: None if level not in decision_ms else round(decision_ms[level] / _HOUR_MS, 4)
                    for level in LEVELS
                },
            },
        }

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()

    def _route(self, event: Mapping[str, Any], base: int) -> Rule:
        facts = Facts(event["category_id"], event["department_id"], event["region"], event["currency"], base)
        key = (*(facts.category_id, facts.department_id, facts.region, facts.currency), self._engine.band(base))
        found = self._routes.get(key)
        if found is None:
            if len(self._routes) >= _KEPT:
                self._routes.clear()
            found = self._routes[key] = self._engine.route(facts)
        return found

    def _staffing(self, event: Mapping[str, Any], rule: Rule) -> tuple[bool, tuple[int, ...]]:
        """(whether the route's quorums can be met without the requester, the votes of each level), as a submit finds it."""
        place = (event["category_id"], event["department_id"], event["region"])
        key = (rule.id, *place, event["actor_id"])
        found = self._staffed.get(key)
        if found is None:
            if len(self._staffed) >= _KEPT:
                self._staffed.clear()
            needs = []
            for level in rule.levels:
                named = self._pools.resolve(place[0], level, place[1], place[2])
                pool = (self._managers & frozenset(named)) - {event["actor_id"]}
                needs.append((level, quorum_number(rule.quorum_of(level), len(pool)), pool))
            quorums = tuple(needed for _, needed, _ in needs)
            found = self._staffed[key] = (all(pool for *_, pool in needs) and can_staff(needs), quorums)
        return found


def _said(quorum: str | int) -> str:
    """What a quorum asks for: `any` and 1 are the same."""
    return "1" if str(quorum) == "any" else str(quorum)
