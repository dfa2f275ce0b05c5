"""Naming a delegate: who may, whom, and for when; and who then stands for whom at which time."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from pydantic import ValidationError

from rules.decide_reference import ReferenceDecision, decide_reference
from rules.delegating import MAX_AT_ONCE, MAX_MADE
from schemas.catalog import Catalog
from schemas.codes import Code
from schemas.reference import LONGEST_DELEGATION_MS, Delegation, DelegationBody, PutEntity, RemoveEntity
from tests.unit.core.organisation import HOUR, START, catalog, new_id, user

DAY = 24 * HOUR


def body(delegator: str = "ann", delegate: str = "fay", begins: int = 0, ends: int = DAY) -> DelegationBody:
    return DelegationBody(delegator_id=delegator, delegate_id=delegate, from_ms=START + begins, until_ms=START + ends)


def put(actor: str, wanted: DelegationBody, held: Catalog, **more: Any) -> ReferenceDecision:
    facts = {"command_id": new_id(), "correlation_id": "correlation-1", "entity_id": f"d-{uuid.uuid4()}"} | more
    return decide_reference(PutEntity(actor_id=actor, body=wanted, **facts), held, START)


def remove(actor: str, id_: str, held: Catalog, **more: Any) -> ReferenceDecision:
    facts = {"command_id": new_id(), "correlation_id": "correlation-1", "entity_id": id_, "kind": "delegation"}
    return decide_reference(RemoveEntity(actor_id=actor, **facts, **more), held, START)


def made(held: Catalog, wanted: DelegationBody, actor: str = "root") -> Delegation:
    """It must be accepted, and is taken over."""
    decision = put(actor, wanted, held)
    assert isinstance(decision.after, Delegation), decision.refusal
    held.put(decision.after)
    return decision.after


@pytest.mark.parametrize("actor", ["ann", "root", "system"])
def test_managers_name_their_own_delegate_and_admins_anybodys(actor: str) -> None:
    """Somebody on holiday keeps a request waiting, and nobody can help."""
    found = made(catalog(), body(), actor)
    assert (found.delegator_id, found.delegate_id, found.version) == ("ann", "fay", 1)


@pytest.mark.parametrize(
    ("actor", "wanted", "code", "pointer"),
    [
        ("bob", body(), Code.ACTOR_NOT_ALLOWED, None),
        ("fay", body(), Code.ACTOR_NOT_ALLOWED, None),
        ("sam", body("sam"), Code.ACTOR_NOT_ALLOWED, None),
        ("aud", body(), Code.ACTOR_NOT_ALLOWED, None),
        ("ann", body(delegate="sam"), Code.UNKNOWN_REFERENCE, "/delegate_id"),
        ("ann", body(delegate="nobody"), Code.UNKNOWN_REFERENCE, "/delegate_id"),
        ("root", body(delegate="sam"), Code.APPROVER_INACTIVE, "/delegate_id"),
        ("root", body(delegate="nobody"), Code.UNKNOWN_REFERENCE, "/delegate_id"),
        ("root", body("sam"), Code.APPROVER_INACTIVE, "/delegator_id"),
        ("ann", body(begins=-DAY, ends=0), Code.DELEGATION_OVER, "/until"),
    ],
)
def test_what_is_refused(actor: str, wanted: DelegationBody, code: Code, pointer: str | None) -> None:
    """Somebody votes for another who never asked for it, or a manager learns who has an account."""
    decision = put(actor, wanted, catalog())
    assert (decision.after, decision.refusal, decision.pointer) == (None, code, pointer)


@pytest.mark.parametrize("roles", [("admin",), ("admin", "manager")])
def test_an_admin_names_nobody_elses_delegate_in_themself(roles: tuple[str, ...]) -> None:
    """An administrator makes themself a manager, then somebody's delegate, and approves what was filed long before."""
    held = catalog()
    held.put(user("root", *roles, version=2))
    assert put("root", body(delegate="root"), held).refusal is Code.ACTOR_NOT_ALLOWED
    if "manager" in roles:
        assert made(held, body("root", "fay"), "root").delegator_id == "root"
        assert made(held, body("ann", "root"), "ann").delegate_id == "root", "ann's own choice"


@pytest.mark.parametrize(
    ("begins", "ends", "delegate", "fits"),
    [
        (DAY, 2 * DAY, "eve", True), (-DAY, 0, "eve", False), (DAY - 1, DAY, "eve", False), (0, DAY, "fay", False),
        (HOUR, 2 * HOUR, "eve", False), (-HOUR, 2 * DAY, "eve", False),
    ],
)  # fmt: skip
def test_a_person_has_one_delegate_at_a_time(begins: int, ends: int, delegate: str, fits: bool) -> None:
    """Two people are told that a vote is theirs, and neither knows who has given it."""
    held = catalog()
    made(held, body())
    decision = put("ann", body("ann", delegate, begins, ends), held)
    wanted = None if fits else Code.DELEGATION_OVER if ends <= 0 else Code.DELEGATION_OVERLAPS
    assert decision.refusal is wanted
    assert put("bob", body("bob", delegate), held).refusal is None, "another person's time is another's"


def test_it_does_not_begin_before_it_was_made() -> None:
    """The record says that somebody could vote for another at a time when they could not."""
    held = catalog()
    assert made(held, body(begins=-DAY)).from_ms == START
    held = catalog()
    held.put(Delegation(id="past", version=1, **body(begins=-DAY, ends=0).model_dump(exclude={"kind"})))
    assert made(held, body(begins=-DAY)).from_ms == START, "one that is over is in nobody's way"


def test_how_many_there_can_be_is_bounded() -> None:
    """One account fills every worker's memory, or a delegate's list takes for ever."""
    held = catalog()
    for number in range(MAX_MADE):
        held.put(
            Delegation(
                id=f"a{number}", version=1, **body(begins=number - 200, ends=number - 199).model_dump(exclude={"kind"})
            )
        )
    assert put("ann", body(), held).refusal is Code.TOO_MANY_DELEGATIONS
    held = catalog()
    for number in range(MAX_AT_ONCE):
        held.put(user(f"m{number}", "manager"))
        made(held, body(f"m{number}"))
    assert put("ann", body(), held).refusal is Code.TOO_MANY_DELEGATIONS
    assert put("ann", body(begins=DAY, ends=2 * DAY), held).refusal is None


def test_a_delegation_is_never_changed() -> None:
    """Whom a vote was given for could be written anew after it was given."""
    held = catalog()
    found = made(held, body())
    for actor in ("ann", "root"):
        assert put(actor, body("ann", "eve", DAY, 2 * DAY), held, entity_id=found.id).refusal is Code.ENTITY_EXISTS
    assert put("bob", body("bob"), held, entity_id=found.id).refusal is Code.ENTITY_EXISTS
    assert put("root", body("bob"), held, expected_version=1).refusal is Code.PRECONDITION_FAILED


@pytest.mark.parametrize(
    ("actor", "code"),
    [
        ("ann", None), ("root", None), ("system", None), ("fay", Code.ACTOR_NOT_ALLOWED), ("bob", Code.NOT_FOUND),
        ("sam", Code.ACTOR_NOT_ALLOWED),
    ],
)  # fmt: skip
def test_who_may_end_one(actor: str, code: Code | None) -> None:
    """A stranger takes somebody's delegate away, or learns who is on holiday."""
    held = catalog()
    found = made(held, body())
    decision = remove(actor, found.id, held)
    assert (decision.after, decision.refusal, decision.action) == (None, code, "delegation-deleted")
    if code is None:
        held.apply(f"delegation:{found.id}".encode(), None)
        assert held.delegators_of("fay", START) == ()
        assert remove(actor, found.id, held).refusal is Code.NOT_FOUND
    else:
        missing = remove(actor, "d-missing", held).refusal
        assert missing is (Code.NOT_FOUND if actor in ("fay", "bob") else code)


@pytest.mark.parametrize(
    "wrong", [lambda: body("ann", "ann"), lambda: body(ends=0), lambda: body(ends=LONGEST_DELEGATION_MS + 1)]
)
def test_what_is_no_delegation_is_no_command(wrong: Any) -> None:
    """Somebody is their own delegate, or one is named for ever."""
    with pytest.raises(ValidationError):
        wrong()


def test_it_holds_from_its_first_millisecond_to_before_its_last() -> None:
    """A vote counts that was given before or after the time for which it was allowed."""
    held = catalog()
    made(held, body(begins=5, ends=10))
    times = {at: held.delegators_of("fay", START + at) for at in (4, 5, 9, 10)}
    assert times == {4: (), 5: ("ann",), 9: ("ann",), 10: ()}
    assert held.delegates_of("ann", START + 5) == ("fay",)


def test_it_rests_while_either_is_no_active_manager_and_passes_no_further() -> None:
    """A vote is given for somebody who left, or travels from hand to hand."""
    held = catalog()
    made(held, body("ann", "fay"))
    made(held, body("fay", "eve"))
    assert held.delegators_of("eve", START) == ("fay",)
    held.put(user("ann", "manager", active=False, version=2))
    assert held.delegators_of("fay", START) == ()
    assert held.delegates_of("ann", START) == ()
    held.put(user("ann", "manager", version=3))
    held.put(user("fay", "sales", version=2))
    assert held.delegates_of("ann", START) == ()
