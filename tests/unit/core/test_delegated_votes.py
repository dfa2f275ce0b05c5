"""Voting for somebody who is away: whose vote it is, who has used theirs up, and who can take it back."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.codes import Code
from schemas.events import Approved, Rejected, written
from schemas.view import request_view
from tests.unit.core.core_stories import Story, filed, standing_in
from tests.unit.core.organisation import (
    HOUR,
    approve,
    assignment,
    close,
    comment,
    reassign,
    reject,
    rollback,
    submit,
    user,
    withdraw,
)


def refusal(story: Story, command: Any) -> Code | None:
    return story.tries(command).refusal


def test_the_vote_is_the_approvers_and_the_delegate_is_on_record() -> None:
    """Nobody can tell who decided, or the quorum counts a stranger."""
    story = standing_in(filed(), "ann", "fay").at(5).does(approve("fay", comment="For Ann"))
    event = story.events[-1]
    assert isinstance(event, Approved)
    assert (event.actor_id, event.on_behalf_of) == ("fay", "ann")
    assert written(event)["on_behalf_of"] == "ann"
    assert story.state is not None
    assert story.state.status.value == "pending_l2"
    (vote,) = request_view(story.state)["route"]["levels"][0]["votes"]
    assert (vote["approver_id"], vote["delegate_id"], vote["comment"]) == ("ann", "fay", "For Ann")


def test_a_delegate_can_reject_too() -> None:
    """Only consent can be given for somebody who is away."""
    story = standing_in(filed(), "ann", "fay").does(reject("fay"))
    event = story.events[-1]
    assert isinstance(event, Rejected)
    assert event.on_behalf_of == "ann"
    assert story.state is not None
    assert story.state.status.value == "rejected"


def test_what_was_written_before_there_were_delegates_is_written_as_it_was() -> None:
    """Every chain of before breaks at the first repeat."""
    story = filed().does(approve("ann"))
    assert "on_behalf_of" not in written(story.events[-1])
    assert story.state is not None
    assert "delegate_id" not in request_view(story.state)["route"]["levels"][0]["votes"][0]


@pytest.mark.parametrize(("at", "code"), [(4, Code.NOT_FOUND), (5, None), (9, None), (10, Code.NOT_FOUND)])
def test_the_logs_time_says_whether_it_holds(at: int, code: Code | None) -> None:
    """A vote that was tapped in time and came late counts, or the other way round, by whose clock is wrong."""
    story = standing_in(filed(), "ann", "gil", 5, 10).at(at)
    for command in (approve("gil"), reject("gil")):
        assert refusal(story, command) is code


def test_both_have_used_their_vote_up() -> None:
    """One person counts twice towards a quorum."""
    story = standing_in(filed(quorum={"L1": 2}), "ann", "fay").does(approve("fay"))
    assert refusal(story, approve("ann")) is Code.ALREADY_VOTED
    assert refusal(story, approve("fay")) is Code.ALREADY_VOTED
    story.does(approve("bob"), approve("cid"))
    assert refusal(story, approve("fay")) is Code.ALREADY_VOTED, "L3 waits for fay or eve, and fay has voted at L1"
    story.does(approve("eve"))


def test_who_is_in_the_pool_votes_as_themself_first() -> None:
    """A delegate in the pool gives another's vote, and keeps their own for a second."""
    story = standing_in(filed(quorum={"L1": 2}), "ann", "bob").does(approve("bob"))
    assert getattr(story.events[-1], "on_behalf_of", "") is None
    assert refusal(story, approve("bob")) is Code.ALREADY_VOTED
    story.does(approve("ann"))


def test_of_several_the_first_who_has_not_voted() -> None:
    """A vote that was given is given again, or one that could be is refused."""
    story = filed(quorum={"L1": 2})
    standing_in(standing_in(story, "ann", "fay"), "bob", "fay").does(approve("ann"), approve("fay"))
    assert getattr(story.events[-1], "on_behalf_of", "") == "bob"
    other = filed(quorum={"L1": 2})
    standing_in(standing_in(other, "bob", "fay"), "ann", "fay").does(approve("fay"))
    assert getattr(other.events[-1], "on_behalf_of", "") == "ann", "the order is the pool's"


def test_when_all_whom_one_stands_for_have_voted() -> None:
    """The delegate is told that they are no approver, although they see the request."""
    story = standing_in(filed(quorum={"L1": 2}), "ann", "fay").does(approve("ann"))
    assert refusal(story, approve("fay")) is Code.ALREADY_VOTED


def test_nobody_decides_on_their_own_request_for_somebody_else() -> None:
    """A requester approves their own money in another's name."""
    story = Story()
    story.context.catalog.put(user("sam", "sales", "manager", version=2))
    story.does(submit())
    assert refusal(standing_in(story, "ann", "sam"), approve("sam")) is Code.SELF_APPROVAL


def test_a_vote_that_both_are_needed_for_later_is_refused() -> None:
    """A request gets stuck, because the delegate was the only one left for the next level."""
    story = filed(levels=("L1", "L3"), quorum={"L3": "all"})
    standing_in(story, "ann", "fay")
    assert refusal(story, approve("fay")) is Code.NEEDED_LATER
    story.does(approve("ann"))
    other = Story()
    other.context.catalog.put(assignment("L3", "ann"))
    other.context.rules = filed(levels=("L1", "L3"), quorum={"L3": "all"}).context.rules
    other.does(submit())
    assert refusal(standing_in(other, "ann", "cid"), approve("cid")) is Code.NEEDED_LATER, "ann is needed at L3"


def test_the_vote_of_whom_no_later_level_needs_is_given() -> None:
    """Somebody who stands in for two is told that the vote is needed later, although the other's is not."""
    story = filed(levels=("L1", "L3"), quorum={"L1": 1, "L3": "all"})
    rules = story.context.rules
    story = Story()
    story.context.catalog.put(assignment("L3", "ann"))
    story.context.rules = rules
    story.does(submit())
    for one in ("ann", "bob"):
        standing_in(story, one, "gil")
    story.does(approve("gil"))
    assert getattr(story.events[-1], "on_behalf_of", "") == "bob"


def test_whoever_made_the_decision_takes_it_back() -> None:
    """Somebody takes back a decision they have not made, or nobody can."""
    story = standing_in(filed(), "ann", "gil", 0, 10).does(approve("gil")).at(20)
    assert refusal(story, rollback("ann")) is Code.NOT_YOUR_DECISION
    story.does(rollback("gil"))
    assert story.state is not None
    assert story.state.status.value == "pending_l1"
    assert refusal(story, approve("gil")) is Code.NOT_AN_APPROVER, "the delegation is over; the part in it stays"
    story.does(approve("ann"))


def test_a_delegate_sees_what_the_delegator_does_while_it_lasts() -> None:
    """What somebody sees outlasts their time, or a delegate cannot ask a question before deciding."""
    story = standing_in(filed(), "cid", "gil", 5, 10)
    for at, code in ((4, Code.NOT_VISIBLE), (5, None), (10, Code.NOT_VISIBLE)):
        assert refusal(story.at(at), comment("gil")) is code
    assert refusal(story.at(5), approve("gil")) is Code.NOT_AN_APPROVER, "L2 is not open yet"
    assert refusal(story, withdraw("gil")) is Code.NOT_YOUR_REQUEST
    assert refusal(story, submit("gil")) is Code.REQUEST_EXISTS
    story.does(approve("ann"), approve("gil")).at(11)
    assert refusal(story, comment("gil")) is None, "who has voted has a part for ever"


def test_a_delegate_who_lost_the_role_is_refused_as_everybody_is() -> None:
    """Somebody who left decides in another's name."""
    story = standing_in(filed(), "ann", "gil").without("gil")
    assert refusal(story, approve("gil")) is Code.ACTOR_NOT_ALLOWED


def test_a_delegator_who_lost_the_role_has_no_delegate() -> None:
    """Somebody who left decides through another."""
    story = standing_in(filed(), "ann", "gil").without("ann")
    assert refusal(story, approve("gil")) is Code.NOT_FOUND


def test_a_vote_given_for_somebody_leaves_the_pool_with_them() -> None:
    """A vote stands that belongs to nobody on the request."""
    story = standing_in(filed(quorum={"L1": "all"}), "ann", "gil").does(approve("gil")).without("ann")
    story.does(reassign("L1", "system"))
    assert getattr(story.events[-1], "dropped", None) == ("ann",)
    assert story.state is not None
    assert story.state.voters == frozenset()
    story.does(approve("bob"), approve("cid"), approve("fay")).at(24 * HOUR).does(close(6))
