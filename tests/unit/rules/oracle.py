"""The second evaluator: what a rules file says, in plain Python, sharing nothing with the engine but the model."""

from __future__ import annotations

from rules.engine import Facts
from rules.model import Rule, RulesFile


def route(file: RulesFile, facts: Facts) -> Rule:
    for rule in file.rules:
        when = rule.when
        named = (
            (when.category, facts.category_id),
            (when.department, facts.department_id),
            (when.region, facts.region),
            (when.currency, facts.currency),
        )
        if all(names is None or value in names for names, value in named) and _inside(rule, facts.base_minor):
            return rule
    return file.default


def _inside(rule: Rule, amount: int) -> bool:
    band = rule.when.amount
    if band is None:
        return True
    return (
        (band.lt is None or amount < band.lt)
        and (band.lte is None or amount <= band.lte)
        and (band.gt is None or amount > band.gt)
        and (band.gte is None or amount >= band.gte)
    )
