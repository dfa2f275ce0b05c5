"""No hole in what a partition's agent is given."""

from __future__ import annotations

from agents.continuity import Continuity, Verdict


def read(order: Continuity[str], offsets: list[int]) -> list[Verdict]:
    return [order.judge("p", offset) for offset in offsets]


def test_a_fetch_from_before_the_seek_is_read_again_from_where_it_should_have_begun() -> None:
    """Otherwise commands that were acknowledged with 202 would be committed past, and never decided."""
    order: Continuity[str] = Continuity()
    order.begin("p", 477)
    assert read(order, [527, 528, 529]) == [Verdict.SEEK, Verdict.DROP, Verdict.DROP]
    assert order.expected("p") == 477
    assert read(order, list(range(477, 530))) == [Verdict.DELIVER] * 53


def test_the_first_record_after_a_seek_may_not_be_missed_either() -> None:
    """Otherwise one command could be lost where Faust's own check, which allows a step of one, sees nothing."""
    order: Continuity[str] = Continuity()
    order.begin("p", 10)
    assert read(order, [11, 10, 11]) == [Verdict.SEEK, Verdict.DELIVER, Verdict.DELIVER]


def test_what_was_read_already_is_not_given_twice() -> None:
    """Otherwise each stale fetch would cost its records' decisions again."""
    order: Continuity[str] = Continuity()
    order.begin("p", 5)
    assert read(order, [3, 4, 5, 6, 6]) == [Verdict.DROP, Verdict.DROP, Verdict.DELIVER, Verdict.DELIVER, Verdict.DROP]


def test_a_hole_that_stays_is_passed() -> None:
    """Otherwise a partition would stand still for ever where retention has removed records."""
    order: Continuity[str] = Continuity()
    order.begin("p", 5)
    assert read(order, [20, 21, 20, 21]) == [Verdict.SEEK, Verdict.DROP, Verdict.DELIVER, Verdict.DELIVER]


def test_nothing_is_handed_on_before_it_is_known_where_to_begin() -> None:
    """Otherwise a record that comes too early would be decided before those that the group has not committed."""
    order: Continuity[str] = Continuity()
    assert read(order, [7]) == [Verdict.DROP]
    order.begin("p", 6)
    assert read(order, [8, 6, 7, 8]) == [Verdict.SEEK, Verdict.DELIVER, Verdict.DELIVER, Verdict.DELIVER]


def test_a_new_assignment_does_not_go_on_where_the_last_one_was() -> None:
    """Otherwise what was handed on before a rebalance, and not decided, would be skipped until the next seek: seen in the
    simulation, where 16 and 17 were decided before 11 to 15."""
    order: Continuity[str] = Continuity()
    order.begin("p", 11)
    assert read(order, [11, 12, 13, 14, 15]) == [Verdict.DELIVER] * 5
    order.forget()
    assert read(order, [11, 12, 13, 14, 15, 16, 17]) == [Verdict.DROP] * 7
    order.begin("p", 11)
    assert read(order, [11, 12]) == [Verdict.DELIVER] * 2


def test_a_new_assignment_takes_no_hole_for_real_that_an_earlier_one_met() -> None:
    """Two rebalances with nothing committed between them: a late fetch after the second one would be believed."""
    order: Continuity[str] = Continuity()
    order.begin("p", 100)
    assert read(order, [150]) == [Verdict.SEEK]
    order.begin("p", 100)
    assert read(order, [150, 151]) == [Verdict.SEEK, Verdict.DROP]
    assert read(order, list(range(100, 152))) == [Verdict.DELIVER] * 52


def test_a_real_hole_behind_a_late_fetch_is_not_made_larger() -> None:
    """Retention took some records, and a late fetch others: those between the two would be passed over."""
    order: Continuity[str] = Continuity()
    order.begin("p", 100)
    assert read(order, [150, 151]) == [Verdict.SEEK, Verdict.DROP]
    assert read(order, [130, 131]) == [Verdict.SEEK, Verdict.DROP]
    assert read(order, list(range(130, 152))) == [Verdict.DELIVER] * 22
