"""Who may name a delegate, whom, and for when. Pure; `rules.decide_reference` makes the event of it.

A delegation is made and removed, never changed. At any time a person has one delegate at most, so that it is always clear who
votes for them; and it passes no further: a delegate votes for who named them, not for whom that person votes for.
"""

from __future__ import annotations

from schemas.catalog import Catalog
from schemas.codes import Code
from schemas.commands import SYSTEM
from schemas.reference import Delegation, DelegationBody

#: Delegations on record that one person has made, those that are over too.
MAX_MADE = 100
#: Delegations to one person of which some time is common with a new one: what is read for a delegate is read for all of them.
MAX_AT_ONCE = 20

Refusal = tuple[Code, str | None]


def _oversees(actor_id: str, catalog: Catalog) -> bool:
    return actor_id == SYSTEM or catalog.is_active(actor_id, "admin")


def refusal_of_new(
    body: DelegationBody, before: Delegation | None, actor_id: str, catalog: Catalog, at: int
) -> Refusal | None:
    """Why this delegation cannot be made at time `at`; None when it can. `before`: what stands under its id already."""
    oversees = _oversees(actor_id, catalog)
    if not oversees and not (actor_id == body.delegator_id and catalog.is_active(actor_id, "manager")):
        return Code.ACTOR_NOT_ALLOWED, None
    if actor_id == body.delegate_id:
        # Votes are given, not taken: else an administrator decides what was filed before they were anybody's approver.
        return Code.ACTOR_NOT_ALLOWED, None
    if before is not None:
        return Code.ENTITY_EXISTS, None
    for person, pointer in ((body.delegator_id, "/delegator_id"), (body.delegate_id, "/delegate_id")):
        if not catalog.is_active(person, "manager"):
            # Managers do not learn by this who has an account: of others they hear what they hear of nobody.
            known = oversees and person in catalog.users
            return (Code.APPROVER_INACTIVE if known else Code.UNKNOWN_REFERENCE), pointer
    if body.until_ms <= at:
        return Code.DELEGATION_OVER, "/until"
    made = catalog.delegations.by(body.delegator_id)
    if any(_overlap(one, body) for one in made):
        return Code.DELEGATION_OVERLAPS, None
    beside = sum(1 for one in catalog.delegations.to(body.delegate_id) if _overlap(one, body))
    if len(made) >= MAX_MADE or beside >= MAX_AT_ONCE:
        return Code.TOO_MANY_DELEGATIONS, None
    return None


def refusal_of_removal(found: Delegation | None, actor_id: str, catalog: Catalog) -> Code | None:
    """Why this delegation cannot be removed; None when it can. Others' delegations are not there for a manager."""
    oversees = _oversees(actor_id, catalog)
    if not oversees and not catalog.is_active(actor_id, "manager"):
        return Code.ACTOR_NOT_ALLOWED
    if found is None or not (oversees or actor_id in (found.delegator_id, found.delegate_id)):
        return Code.NOT_FOUND
    return None if oversees or actor_id == found.delegator_id else Code.ACTOR_NOT_ALLOWED


def _overlap(one: Delegation, other: DelegationBody) -> bool:
    return one.from_ms < other.until_ms and other.from_ms < one.until_ms
