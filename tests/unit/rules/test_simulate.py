"""What a candidate file changes: only what asks for something else."""

from __future__ import annotations

import pytest

from rules.check import Reference
from rules.file import parse_rules
from rules.simulate import Simulation
from schemas.reference import Assignment

TEXT = (
    "schema: 1\nbase_currency: USD\nrules: [{{id: all-of-it, levels: [L1], quorum: {{L1: {0}}}}}]\n"
    "default: {{id: default, levels: [L1]}}\n"
)


@pytest.mark.parametrize(
    ("was", "now", "rerouted"),
    [("any", 1, 0), ("1", "any", 0), ("any", "any", 0), ("any", 2, 1), ("1", "all", 1), ("2", 2, 0)],
)
def test_a_quorum_that_asks_for_the_same_reroutes_nothing(was: str, now: object, rerouted: int) -> None:
    """Otherwise writing `1` for `any` would look like a change of every request, and a real one would drown in it."""
    people = ("ann", "bob")
    assignments = [Assignment(id=one, version=1, category_id="travel", level="L1", approver_id=one) for one in people]
    reference = Reference(["travel"], [("hq", "emea")], assignments, people)
    simulation = Simulation(parse_rules(TEXT.format(now)), reference)
    level = {"level": "L1", "quorum": 2 if was == "2" else 1, "quorum_rule": was}
    event = {
        "category_id": "travel", "department_id": "hq", "region": "emea", "currency": "USD", "amount_minor": 100,
        "actor_id": "sam", "rule_id": "all-of-it", "levels": [level],
    }  # fmt: skip
    simulation.add("one", event)
    assert (simulation.requests, simulation.rerouted) == (1, rerouted)
    simulation.close()
