"""Staffing: if it says yes wrongly a request is stuck for good; if it says no wrongly nobody can ask."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st
from rule_samples import PEOPLE, Assigned

from rules.staffing import Pools, can_staff, quorum_number, resolve_pool

SIX = (*PEOPLE, "eve", "fay")


def possible(levels: list[tuple[str, int, frozenset[str]]], excluded: frozenset[str]) -> bool:
    """Try every way to choose people."""
    if not levels:
        return True
    _, needed, pool = levels[0]
    return any(
        possible(levels[1:], excluded | frozenset(chosen)) for chosen in combinations(sorted(pool - excluded), needed)
    )


@given(
    st.lists(st.tuples(st.just("L"), st.integers(0, 4), st.frozensets(st.sampled_from(SIX))), max_size=3),
    st.frozensets(st.sampled_from(SIX), max_size=2),
)
def test_it_is_possible_exactly_when_some_choice_of_people_works(
    levels: list[tuple[str, int, frozenset[str]]], excluded: frozenset[str]
) -> None:
    assert can_staff(levels, excluded) == possible(levels, excluded)


def test_one_person_serves_one_level_only() -> None:
    ann, bob = frozenset({"ann"}), frozenset({"bob"})
    assert not can_staff([("L1", 1, ann), ("L2", 1, ann)])
    assert can_staff([("L1", 1, ann | bob), ("L2", 1, ann)])
    assert not can_staff([("L1", 1, ann | bob), ("L2", 1, ann)], bob)
    assert can_staff([("L1", 0, frozenset()), ("L2", 1, ann)])


def test_the_most_specific_assignments_form_the_pool() -> None:
    some = [
        Assigned("c", "L1", "general"),
        Assigned("c", "L1", "east", None, "emea"),
        Assigned("c", "L1", "west", None, "emea"),
        Assigned("c", "L1", "own", "sales", None),
        Assigned("c", "L2", "other"),
        Assigned("x", "L1", "other"),
    ]
    assert resolve_pool(some, "c", "L1", "sales", "emea") == ("own",)
    assert resolve_pool(some, "c", "L1", "hq", "emea") == ("east", "west")
    assert resolve_pool(some, "c", "L1", "hq", "apac") == ("general",)
    assert resolve_pool(some, "c", "L3", "hq", "apac") == ()
    assert Pools(some).resolve("c", "L1", "hq", "emea") == ("east", "west")


def test_a_quorum_becomes_a_number_of_votes() -> None:
    assert [quorum_number(spec, 4) for spec in ("any", "all", 3)] == [1, 4, 3]  # type: ignore[arg-type]
    assert quorum_number("all", 0) == 1  # nobody is never enough
