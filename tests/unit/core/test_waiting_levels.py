"""A level that waits: its approvers are reminded once, and later the next level's pool may decide for it too."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.codes import Code
from schemas.deadlines import QUIET_FROM, next_due
from schemas.events import Escalated, Reminded
from schemas.view import request_view
from tests.unit.core.core_stories import Story, filed, standing_in
from tests.unit.core.organisation import (
    HOUR,
    START,
    approve,
    assignment,
    close,
    comment,
    escalate,
    reassign,
    reject,
    remind,
    rollback,
    user,
    withdraw,
)

#: The levels wait for an hour until the reminder, and for two until the escalation.
TIMES = {"remind_after": HOUR, "escalate_after": 2 * HOUR}


def slow(**rules: Any) -> Story:
    return filed(**(TIMES | rules))


def escalated(**rules: Any) -> Story:
    return slow(**rules).at(2 * HOUR).does(escalate(1))


def due(story: Story) -> tuple[int, str, int] | None:
    """(ms after the start, kind, version) of what time does next."""
    assert story.state is not None
    found = next_due(story.state)
    return None if found is None else (found.at - START, found.kind, found.version)


def test_a_reminder_and_then_an_escalation_are_due_and_then_nothing() -> None:
    """A request waits for somebody who has forgotten it, or people are reminded without end."""
    story = slow()
    assert due(story) == (HOUR, "remind", 1)
    story.at(HOUR).does(remind(1))
    assert due(story) == (2 * HOUR, "escalate", 1)
    story.at(2 * HOUR).does(escalate(1))
    assert due(story) is None
    assert [type(event) for event in story.events[1:]] == [Reminded, Escalated]
    assert [(event.actor_id, event.at - START) for event in story.events[1:]] == [
        ("system", HOUR),
        ("system", 2 * HOUR),
    ]


def test_nothing_is_due_where_the_rules_name_no_time() -> None:
    """Everybody gets messages that nobody asked for."""
    assert due(filed()) is None
    assert due(filed(remind_after=HOUR)) == (HOUR, "remind", 1)
    assert due(filed(escalate_after=HOUR)) == (HOUR, "escalate", 1)


@pytest.mark.parametrize("command", [remind, escalate])
def test_early_stale_or_repeated_it_does_nothing(command: Any) -> None:
    """A crash of a worker reminds everybody again, or lets people decide too soon."""
    after = TIMES["remind_after" if command is remind else "escalate_after"]
    for ms, version in ((after - 1, 1), (after, 2), (after, 99)):
        decision = slow().at(ms).tries(command(version))
        assert (decision.event, decision.refusal) == (None, None)
    story = slow().at(after).does(command(1))
    decision = story.tries(command(1))
    assert (decision.event, decision.refusal) == (None, None)
    for ended in (slow().does(withdraw()), slow().does(reject("ann")), slow().does(approve("ann"))):
        decision = ended.at(after).tries(command(1))
        assert (decision.event, decision.refusal) == (None, None)
    assert story.tries(command(1, "root")).refusal is Code.ACTOR_NOT_ALLOWED
    assert Story().tries(command(1)).event is None


def test_each_level_has_its_own_time_from_when_it_opened() -> None:
    """The next level is called slow for what the level before has done."""
    story = slow().at(HOUR + 7).does(remind(1), approve("ann"))
    assert due(story) == (2 * HOUR + 7, "remind", 3)
    story.at(3 * HOUR).does(comment())
    assert due(story) == (2 * HOUR + 7, "remind", 3), "what people say moves nothing"


def test_a_rollback_opens_a_level_anew_and_a_vote_that_leaves_it_open_does_not() -> None:
    """Who is asked again is never reminded again."""
    story = slow(quorum={"L1": 2}).at(5).does(approve("ann"))
    assert due(story) == (HOUR, "remind", 1)
    story.at(6).does(rollback("ann"))
    assert due(story) == (HOUR, "remind", 1)
    story.at(HOUR).does(remind(1), approve("ann"), approve("bob")).at(HOUR + 9).does(rollback("bob"))
    assert due(story) == (2 * HOUR + 9, "remind", 7)


def test_a_reassignment_leaves_the_time_as_it_is() -> None:
    """A request that nobody decides never gets to the next level, because its pool changes again and again."""
    story = slow(quorum={"L1": "any"}).at(30).without("ann").does(reassign("L1", "system"))
    assert due(story) == (HOUR, "remind", 1)


def test_a_decided_request_waits_for_its_window_alone() -> None:
    """An approver of a finished request is reminded, or its window does not close."""
    story = slow(levels=("L1",)).at(7).does(approve("ann"))
    assert due(story) == (24 * HOUR + 7, "close", 2)
    story.at(24 * HOUR + 7).does(close(2))
    assert due(story) is None


def test_the_next_levels_pool_may_decide_then_and_is_used_up() -> None:
    """A request waits for ever; or one person decides it alone."""
    story = slow().at(2 * HOUR)
    assert story.tries(approve("cid")).refusal is Code.NOT_AN_APPROVER
    story.does(escalate(1))
    assert story.state is not None
    assert request_view(story.state)["route"]["levels"][0]["escalated"] == ["cid", "dee"]
    assert "escalated" not in request_view(story.state)["route"]["levels"][1]
    story.does(approve("cid"))
    assert story.state.open_level is not None
    assert story.state.open_level.level == "L2"
    assert story.tries(approve("cid")).refusal is Code.ALREADY_VOTED
    assert story.tries(approve("ann")).refusal is Code.NOT_AN_APPROVER
    story.does(approve("dee"), approve("eve"))
    assert story.state.status.value == "approved"


def test_the_levels_own_pool_decides_as_before() -> None:
    """Who was slow cannot decide at all any more."""
    assert escalated().does(approve("bob")).state is not None


def test_it_takes_nobody_from_the_next_level_whom_that_needs() -> None:
    """An escalation makes a request that nobody can finish."""
    story = escalated(quorum={"L2": "all"})
    assert story.tries(approve("cid")).refusal is Code.NEEDED_LATER
    assert story.tries(reject("cid")).event is not None


def test_where_the_route_ends_the_level_above_is_asked_as_it_is_staffed_now() -> None:
    """A small request that waits has nobody to go to."""
    story = slow(levels=("L1",)).at(2 * HOUR)
    story.context.catalog.apply(b"assignment:travel-L2-dee-all", None)
    for person in ("gil", "ann"):
        story.context.catalog.put(user(person, "manager", version=2))
        story.context.catalog.put(assignment("L2", person))
    story.context.catalog.put(assignment("L2", "sam"))
    story.does(escalate(1))
    assert getattr(story.events[-1], "approvers", None) == ("cid", "gil"), "without the requester and the level's own"
    story.does(approve("gil"))
    assert story.state is not None
    assert story.state.status.value == "approved"


def test_a_route_that_leaves_a_level_out_goes_to_its_own_next_one() -> None:
    """Somebody decides who was never on the request's route, although its next level could."""
    story = escalated(levels=("L1", "L3"))
    assert getattr(story.events[-1], "approvers", None) == ("eve", "fay")


def test_above_the_last_level_there_is_nobody() -> None:
    """The system writes into a request for ever that it cannot help."""
    story = slow(levels=("L3",)).at(HOUR).does(remind(1)).at(9 * HOUR)
    assert due(story) is None
    assert story.tries(escalate(1)).event is None


def test_where_nobody_is_found_that_is_on_record_once() -> None:
    """An administrator does not see that a request waits for nobody who comes."""
    story = slow(levels=("L1",)).at(2 * HOUR).without("cid").without("dee").does(escalate(1))
    assert getattr(story.events[-1], "approvers", None) == ()
    assert story.state is not None
    assert "escalated" not in request_view(story.state)["route"]["levels"][0]
    assert due(story) == (HOUR, "remind", 1)
    assert story.tries(escalate(1)).event is None


def test_neither_makes_what_was_seen_stale() -> None:
    """Whoever decides while a reminder comes must look again, although nothing has changed for them."""
    story = slow().at(HOUR).does(remind(1)).at(2 * HOUR).does(escalate(1))
    assert story.tries(approve("ann", expected_version=1)).event is not None


def test_who_was_asked_stays_so_when_the_level_opens_again_or_is_staffed_anew() -> None:
    """A person who was called to decide finds the door shut, or their vote gone."""
    story = escalated(quorum={"L1": 2}).does(approve("cid")).without("ann")
    story.context.catalog.put(assignment("L1", "fay"))
    story.does(reassign("L1", "system"))
    assert getattr(story.events[-1], "dropped", None) == ()
    assert story.state is not None
    assert [vote.approver_id for vote in story.state.levels[0].votes] == ["cid"]
    story.does(approve("bob")).at(3 * HOUR).does(rollback("bob"))
    assert due(story) == (4 * HOUR, "remind", 6), "it is reminded of again, and not escalated again"
    story.does(approve("fay"))


def test_a_delegate_stands_in_for_who_was_asked_too() -> None:
    """The next level's manager is away as well, and the request waits on."""
    story = standing_in(escalated(), "cid", "gil").does(approve("gil"))
    assert getattr(story.events[-1], "on_behalf_of", None) == "cid"


def test_a_request_with_too_many_events_is_left_in_peace() -> None:
    """Reminders fill a request up until nobody can decide on it."""
    story = slow().at(1)
    for _ in range(QUIET_FROM - 2):
        story.does(comment())
    assert due(story) == (HOUR, "remind", 1)
    story.does(withdraw())
    other = slow(quorum={"L1": 2}).at(1)
    for _ in range((QUIET_FROM - 1) // 2 + 1):
        other.does(approve("ann"), rollback("ann"))
    assert due(other) is None
