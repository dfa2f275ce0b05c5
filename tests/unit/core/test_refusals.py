"""Every refusal code of `domain.md`, met on purpose: each row says what a user would lose without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from rules.decide import MAX_EVENTS, RESERVED_EVENTS, Decision
from schemas.codes import Code
from schemas.commands import CommandBase
from schemas.events import Reassigned, Submitted, WindowClosed
from schemas.state import Status
from tables.evolve import evolve, fold
from tests.unit.core.core_stories import Story, approved, filed
from tests.unit.core.organisation import (
    HOUR,
    REQUEST_ID,
    Context,
    approve,
    catalog,
    close,
    comment,
    fixed_rules,
    new_id,
    reassign,
    reject,
    rollback,
    submit,
    user,
    withdraw,
)


def overlapping() -> Story:
    """Ann is the only one who can decide L2."""
    return Story(Context(catalog({"L1": ("ann", "bob"), "L2": ("ann",)}), fixed_rules(("L1", "L2")))).does(submit())


def self_approver() -> Story:
    story = filed()
    story.context.catalog.put(user("sam", "sales", "manager", version=2))
    return story


def inactive(who: str, story: Story | None = None) -> Story:
    return (story or filed()).without(who)


def long_ago(story: Story) -> Story:
    return story.at(25 * HOUR)


def nothing_filed(**fields: Any) -> Story:
    return Story(Context(catalog(), **fields))


@dataclass(frozen=True)
class Row:
    code: Code
    command: Callable[[], CommandBase]
    story: Callable[[], Story]
    lost: str

    def __str__(self) -> str:
        return f"{self.code.value}: {self.lost}"


def row(code: Code, command: Callable[[], CommandBase], story: Callable[[], Story], lost: str) -> Row:
    return Row(code, command, story, lost)


ROWS: Sequence[Row] = (
    row(Code.CATEGORY_INACTIVE, lambda: submit(category_id="closed", reason_id="any"), nothing_filed,
        "a closed budget goes on being spent"),
    row(Code.REASON_NOT_VALID, lambda: submit(reason_id="old"), nothing_filed,
        "money is asked for a reason that was withdrawn"),
    row(Code.REASON_NOT_VALID, lambda: submit(reason_id="lunch"), nothing_filed,
        "reports by reason mix categories"),
    row(Code.UNKNOWN_REFERENCE, lambda: submit(category_id="nope"), nothing_filed,
        "a request hangs on a category that nobody can find"),
    row(Code.UNKNOWN_REFERENCE, lambda: submit(reason_id="nope"), nothing_filed,
        "a request has a reason that nobody can read"),
    row(Code.CURRENCY_NOT_SUPPORTED, lambda: submit(currency="KWD", amount="1.250"), nothing_filed,
        "an amount is compared as if it were in another currency"),
    row(Code.NO_APPROVER, submit, lambda: inactive("cid", inactive("dee", nothing_filed())),
        "a request waits for ever for people who do not exist"),
    row(Code.NO_APPROVER, submit,
        lambda: Story(Context(catalog({"L1": ("ann",), "L2": ("ann",)}), fixed_rules(("L1", "L2")))),
        "one person decides two levels, or the request gets stuck"),
    row(Code.NO_APPROVER, lambda: submit("sam"),
        lambda: Story(Context(catalog({"L1": ("sam",)}), fixed_rules(("L1",)))),
        "somebody decides on their own request"),
    row(Code.NO_APPROVER, submit, lambda: nothing_filed(rules=None),
        "requests are routed without rules"),
    row(Code.NO_APPROVER, lambda: reassign("L1"), lambda: inactive("ann", inactive("bob")),
        "an administrator empties a level by mistake"),
    row(Code.REQUEST_EXISTS, submit, filed,
        "a second submit overwrites the first"),
    row(Code.NOT_PENDING, lambda: approve("ann"), approved,
        "a decided request is decided again"),
    row(Code.NOT_PENDING, lambda: reject("ann"), lambda: filed().does(withdraw()),
        "a withdrawn request comes back as rejected"),
    row(Code.NOT_PENDING, withdraw, approved,
        "an approved request vanishes while somebody prepares the payment"),
    row(Code.NOT_PENDING, lambda: reassign("L1"), lambda: filed().does(approve("ann")),
        "votes of a finished level are thrown away"),
    row(Code.NOT_PENDING, lambda: rollback("ann"), lambda: filed(quorum={"L1": 2}).does(approve("ann"), withdraw()),
        "a withdrawn request comes back to life"),
    row(Code.NOT_AN_APPROVER, lambda: approve("cid"), filed,
        "a level is decided by people of another one"),
    row(Code.NOT_AN_APPROVER, lambda: rollback("ann"), lambda: inactive("ann", filed().does(approve("ann"))),
        "somebody who left goes on changing decisions"),
    row(Code.SELF_APPROVAL, lambda: approve("sam"), self_approver,
        "a requester approves their own money"),
    row(Code.ALREADY_VOTED, lambda: approve("ann"), lambda: filed(quorum={"L1": 2}).does(approve("ann")),
        "one person makes up a quorum alone"),
    row(Code.ALREADY_VOTED, lambda: approve("ann"),
        lambda: Story(Context(catalog({"L1": ("ann", "bob"), "L2": ("ann", "cid")}), fixed_rules(("L1", "L2"))))
        .does(submit(), approve("ann")),
        "one person decides two levels of the same request"),
    row(Code.NEEDED_LATER, lambda: approve("ann"), overlapping,
        "a request gets stuck at a level that only an earlier voter could decide"),
    row(Code.STALE_VERSION, lambda: approve("ann", expected_version=1),
        lambda: filed(quorum={"L1": 2}).does(approve("bob")),
        "somebody decides on what they have not seen"),
    row(Code.STALE_VERSION, lambda: approve("ann", expected_version=2), filed,
        "somebody decides on a version from the future"),
    row(Code.STALE_VERSION, lambda: withdraw(expected_version=1), lambda: filed().does(approve("ann")),
        "a request is withdrawn that has meanwhile moved on"),
    row(Code.STALE_VERSION, lambda: rollback("ann", expected_version=1),
        lambda: filed().does(approve("ann"), rollback("ann"), approve("ann")),
        "a late tap rolls back a newer decision"),
    row(Code.NOT_YOUR_DECISION, lambda: rollback("bob"), lambda: filed().does(approve("ann")),
        "a colleague undoes somebody else's decision"),
    row(Code.NOT_YOUR_DECISION, lambda: rollback("sam"), lambda: filed().does(reject("ann")),
        "a requester undoes a rejection"),
    row(Code.WINDOW_CLOSED, lambda: rollback("ann"), lambda: long_ago(filed().does(approve("ann"))),
        "a decision can be taken back when others already rely on it"),
    row(Code.WINDOW_CLOSED, lambda: rollback("eve"), lambda: long_ago(approved()).does(close(4)),
        "money is paid for a request that is pending again"),
    row(Code.WINDOW_CLOSED, lambda: rollback("ann"), lambda: long_ago(filed().does(reject("ann"))).does(close(2)),
        "a closed request comes back"),
    row(Code.SUPERSEDED, lambda: rollback("ann"), lambda: filed().does(approve("ann"), approve("cid")),
        "a later approver's decision stands on nothing"),
    row(Code.NOTHING_TO_ROLL_BACK, lambda: rollback("ann"), filed,
        "an undo without a decision is taken as one"),
    row(Code.NOTHING_TO_ROLL_BACK, lambda: rollback("ann"), lambda: filed().does(approve("ann"), rollback("ann")),
        "a decision is rolled back twice"),
    row(Code.NOT_YOUR_REQUEST, lambda: withdraw("ann"), filed,
        "an approver makes somebody's request disappear"),
    row(Code.NOT_VISIBLE, lambda: comment("tom"), filed,
        "a stranger writes into a request"),
    row(Code.NOT_FOUND, lambda: approve("tom"), filed,
        "a stranger learns that a request exists"),
    row(Code.NOT_FOUND, lambda: approve("ann"), nothing_filed,
        "a mistyped id creates something"),
    row(Code.NOT_FOUND, lambda: submit("tom"), filed,
        "a stranger's submit shows that an id is taken"),
    row(Code.ACTOR_NOT_ALLOWED, submit, lambda: inactive("sam", nothing_filed()),
        "somebody who left asks for money"),
    row(Code.ACTOR_NOT_ALLOWED, lambda: approve("ann"), lambda: inactive("ann"),
        "somebody who left approves money"),
    row(Code.ACTOR_NOT_ALLOWED, withdraw, lambda: inactive("sam"),
        "a stolen account withdraws requests after it was shut"),
    row(Code.ACTOR_NOT_ALLOWED, comment, lambda: inactive("sam"),
        "a shut account goes on writing"),
    row(Code.ACTOR_NOT_ALLOWED, lambda: reassign("L1", "ann"), filed,
        "an approver chooses who decides"),
    row(Code.STALE_VERSION, lambda: reassign("L1", "system", expected_version=1),
        lambda: filed(quorum={"L1": 2}).does(comment(), approve("ann")).without("bob"),
        "a departure that was looked at before a vote came takes the vote away"),
    row(Code.NO_APPROVER, lambda: reassign("L1", "system"),
        lambda: filed().without("ann").without("bob").does(reassign("L1", "system")),
        "a request that nobody can decide fills its history with attempts"),
    row(Code.ACTOR_NOT_ALLOWED, lambda: close(4, "ann"), lambda: long_ago(approved()),
        "anybody who can write a command finalizes a request"),
)  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_it_is_refused(row: Row) -> None:
    story = row.story()
    decision = story.tries(row.command())
    assert decision.event is None
    assert decision.refusal is row.code


def test_every_code_of_the_domain_is_met() -> None:
    """A code that nothing produces is a promise to users that nobody keeps."""
    elsewhere = {  # reference data; the record of known commands; dead letters; the test of its own below
        Code.PRECONDITION_FAILED, Code.EMAIL_TAKEN, Code.LAST_ADMIN, Code.RULES_INVALID, Code.ENTITY_EXISTS,
        Code.IDEMPOTENCY_KEY_REUSED, Code.FAILED, Code.TOO_MANY_EVENTS, Code.APPROVER_INACTIVE,
        Code.DELEGATION_OVER, Code.DELEGATION_OVERLAPS, Code.TOO_MANY_DELEGATIONS,
    }  # fmt: skip
    assert {one.code for one in ROWS} == set(Code) - elsewhere


@pytest.mark.parametrize(("after", "accepted"), [(-1, True), (0, False), (1, False)])
def test_a_rollback_is_in_time_up_to_the_last_millisecond(after: int, accepted: bool) -> None:
    """An approver loses the last moment, or takes back what may be paid."""
    story = filed().at(5).does(approve("ann")).at(5 + 24 * HOUR + after)
    assert (story.tries(rollback("ann")).refusal is None) is accepted


@pytest.mark.parametrize(("after", "closes"), [(-1, False), (0, True), (1, True)])
def test_a_window_closes_at_its_end_and_not_before(after: int, closes: bool) -> None:
    """Money moves while it could still be taken back, or a millisecond of the window stays open to both."""
    story = approved().at(24 * HOUR + after)
    event = story.tries(close(4)).event
    assert isinstance(event, WindowClosed) is closes


def test_closing_a_window_early_twice_or_for_an_old_decision_does_nothing() -> None:
    """A repeated timer would finalize a request whose approval was taken back."""
    story = approved().does(rollback("eve"), approve("fay")).at(24 * HOUR)
    assert story.tries(close(4)) == Decision()
    story.does(close(6))
    assert story.tries(close(6)) == Decision()
    assert Story().tries(close(1)) == Decision()


def test_comments_make_nothing_stale() -> None:
    """An approver has to read the request anew because somebody asked a question."""
    story = filed().does(comment(), comment("ann"))
    assert story.tries(approve("ann", expected_version=1)).event is not None
    assert story.tries(approve("ann", expected_version=0)).refusal is Code.STALE_VERSION


def test_a_reassignment_makes_what_was_seen_before_stale() -> None:
    """An approver decides with colleagues whom they do not know of."""
    story = filed().does(reassign("L2"))
    assert story.tries(approve("ann", expected_version=1)).refusal is Code.STALE_VERSION


def test_a_superseded_decision_can_be_rolled_back_once_the_later_one_was() -> None:
    """An early mistake stays for ever although everybody after it has stepped back."""
    story = filed().does(approve("ann"), approve("cid"), rollback("cid"), rollback("ann"))
    assert story.state is not None and story.state.status is Status.PENDING_L1 and not story.state.standing


def test_a_rejection_rolled_back_keeps_the_other_votes_of_its_level() -> None:
    """Colleagues have to vote again because one of them changed their mind."""
    story = filed(quorum={"L1": 2}).does(approve("ann"), reject("bob"), rollback("bob"))
    assert story.state is not None and [vote.approver_id for _, vote in story.state.standing] == ["ann"]
    assert story.does(approve("bob")).state.status is Status.PENDING_L2  # type: ignore[union-attr]


def test_who_lost_their_vote_by_reassignment_can_serve_a_later_level() -> None:
    """A request is flagged as nobody's although somebody is free to decide."""
    pools = catalog({"L1": ("ann", "bob", "cid"), "L2": ("ann", "cid")})
    story = Story(Context(pools, fixed_rules(("L1", "L2"), {"L1": 2}))).does(submit(), approve("ann"))
    pools.apply(b"assignment:travel-L1-ann-all", None)
    event = story.does(reassign("L1", "system")).events[-1]
    assert isinstance(event, Reassigned) and not event.unstaffed
    assert event.approvers == ("bob", "cid") and event.dropped == ("ann",)
    story.does(approve("bob"), approve("cid"), approve("ann"))
    assert story.state is not None and story.state.status is Status.APPROVED


def test_a_pool_that_cannot_be_staffed_stays_and_is_flagged() -> None:
    """A departure silently leaves a request without anybody, or without the votes it had."""
    story = filed(quorum={"L1": 2}).does(approve("ann")).without("bob").does(reassign("L1", "system"))
    event, state = story.events[-1], story.state
    assert isinstance(event, Reassigned) and event.unstaffed and state is not None
    assert state.levels[0].approvers == ("ann", "bob") and state.levels[0].approvals == 1


def test_a_level_whose_missing_people_left_is_complete() -> None:
    """`all` waits for ever for somebody who is gone."""
    story = filed(quorum={"L1": "all"}).does(approve("ann")).without("bob").does(reassign("L1", "system"))
    assert story.state is not None and story.state.status is Status.PENDING_L2


def test_all_levels_that_the_route_does_not_need_are_skipped() -> None:
    """A small request waits for the board."""
    story = filed(levels=("L2",)).does(approve("cid"))
    assert story.state is not None and story.state.status is Status.APPROVED


def test_amounts_are_pinned_in_the_base_currency_rounded_half_up() -> None:
    """Rules compare a rounding error away from what the file says."""
    story = Story(Context(catalog(), fixed_rules(fx={"EUR": "1.005"}))).does(submit(amount="1.00"))
    event = story.events[0]
    assert isinstance(event, Submitted)
    assert (event.amount_minor, event.base_minor, event.base_currency, event.fx_rate) == (100, 101, "USD", "1.005")


@pytest.mark.parametrize(
    ("amount", "currency", "rate"), [("999999999999", "USD", "20000"), ("999999999999.999", "CLF", "1")]
)
def test_an_amount_that_json_numbers_cannot_carry_is_refused(amount: str, currency: str, rate: str) -> None:
    """An auditor's own program computes another hash, because numbers above 2^53 are rounded there."""
    context = Context(catalog(), fixed_rules(fx={"USD": rate, "CLF": rate}, base="IDR"))
    assert Story(context).tries(submit(amount=amount, currency=currency)).refusal is Code.CURRENCY_NOT_SUPPORTED


def test_a_request_full_of_comments_can_still_be_decided_and_closed() -> None:
    """Somebody with patience blocks a payment for ever, or fills the disk."""
    story = filed()
    while story.state is not None and story.state.version < MAX_EVENTS - RESERVED_EVENTS:
        story.does(comment())
    assert story.tries(comment()).refusal is Code.TOO_MANY_EVENTS
    story.does(approve("ann"), approve("cid"), approve("eve")).at(24 * HOUR)
    assert story.state is not None
    story.does(close(story.state.version))


def test_no_request_holds_more_than_a_thousand_events() -> None:
    """A record outgrows what Kafka takes, and its partition stands still."""
    story = filed(levels=("L1",))
    while story.state is not None and story.state.version < MAX_EVENTS - 1:
        undo = story.state.status is Status.APPROVED
        story.does(rollback("ann") if undo else approve("ann"))
    if story.state is not None and story.state.pending:
        assert story.tries(approve("ann")).refusal is Code.TOO_MANY_EVENTS
    else:
        assert story.tries(rollback("ann")).refusal is Code.TOO_MANY_EVENTS
    assert story.tries(approve("tom")).refusal is Code.NOT_FOUND, "how full a request is, is not a stranger's business"


def test_a_request_at_its_limit_can_be_withdrawn() -> None:
    """A request that nobody can touch any more stays in everybody's list for ever."""
    story = filed()
    while story.state is not None and story.state.version < MAX_EVENTS - 1:
        story.does(approve("ann") if story.state.status is Status.PENDING_L1 else rollback("ann"))
    if story.state is not None and story.state.status is not Status.PENDING_L1:
        assert story.tries(rollback("ann")).refusal is Code.TOO_MANY_EVENTS
    story.does(withdraw())
    assert story.state is not None and story.state.version == MAX_EVENTS


def test_the_last_of_a_thousand_events_is_the_windows() -> None:
    """A request that reached its limit while approved is never paid."""
    story = filed(levels=("L1",), quorum={"L1": 1}).does(comment())
    while story.state is not None and story.state.version < MAX_EVENTS - 1:
        story.does(rollback("ann") if story.state.status is Status.APPROVED else approve("ann"))
    assert story.state is not None
    story.at(24 * HOUR).does(close(story.state.version))
    assert (story.state.version, story.state.status) == (MAX_EVENTS, Status.FINALIZED)


def test_events_out_of_order_are_not_applied() -> None:
    """A hole in the log goes unnoticed, and a request shows what never was."""
    story = filed().does(approve("ann"))
    first, second = story.events
    for wrong in ([second], [first, first], [first, second, second]):
        with pytest.raises(ValueError, match=REQUEST_ID):
            fold(wrong, REQUEST_ID)
    with pytest.raises(ValueError, match="submitted"):
        evolve(None, second.model_copy(update={"version": 1}), REQUEST_ID)
    with pytest.raises(ValueError, match="twice"):
        evolve(story.state, first.model_copy(update={"version": 3, "command_id": new_id()}), REQUEST_ID)
