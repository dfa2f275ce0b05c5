"""Which assignments say the same, found without looking at all of them."""

from __future__ import annotations

import time
from typing import Any

from rules.decide_reference import decide_reference
from schemas.catalog import Catalog
from schemas.codes import Code
from schemas.commands import SYSTEM
from schemas.reference import Assignment, AssignmentBody, Category, PutEntity, User

MANY = 5_000


def assignment(id_: str, approver: str, **more: Any) -> Assignment:
    return Assignment(id=id_, **{"version": 1, "category_id": "travel", "level": "L1", "approver_id": approver} | more)


def organisation() -> Catalog:
    catalog = Catalog()
    catalog.put(Category(id="travel", version=1, name="travel"))
    for number in range(MANY + 1):
        who = f"m{number}"
        catalog.put(
            User(id=who, version=1, email=f"{who}@athena.test", name=who, roles=("manager",), department_id="hq")
        )
    return catalog


def test_the_index_follows_changes_removals_and_copies() -> None:
    """Otherwise an assignment that is gone would keep its like out for ever, or the same would be said twice."""
    catalog = Catalog()
    first, second = assignment("a", "ann"), assignment("b", "ann")
    catalog.put(first)
    catalog.put(second)  # as the first release let it
    assert catalog.assignments_saying(first.place) == ("a", "b")
    copied = catalog.copy()
    catalog.put(assignment("a", "bob", version=2))
    assert catalog.assignments_saying(first.place) == ("b",)
    assert catalog.assignments_saying(assignment("x", "bob").place) == ("a",)
    catalog.apply(b"assignment:b", None)
    assert catalog.assignments_saying(first.place) == ()
    assert copied.assignments_saying(first.place) == ("a", "b")


def test_many_assignments_of_one_category_are_decided_in_a_moment() -> None:
    """Otherwise the worker's loop would stand still for minutes while somebody imports ten thousand."""
    catalog, began = organisation(), time.process_time()
    for number in (*range(MANY), 0):
        command = PutEntity(
            command_id=f"00000000-0000-4000-8000-{number:012}", actor_id=SYSTEM, correlation_id="correlation", source_address="",
            salt="0" * 32, expected_version=0, entity_id=f"a{number}-{len(catalog.assignments)}",
            body=AssignmentBody(category_id="travel", level="L1", approver_id=f"m{number}"),
        )  # fmt: skip
        decision = decide_reference(command, catalog, 0)
        if decision.after is not None:
            catalog.put(decision.after)
    assert decision.refusal is Code.ENTITY_EXISTS and len(catalog.assignments) == MANY
    # 0.2 s of CPU; by looking at all of the category for each it was 3.4 s, and four times that for twice as many.
    assert time.process_time() - began < 1.5
