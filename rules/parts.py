"""Who has a part in a request, their delegates included. Pure."""

from __future__ import annotations

from schemas.catalog import Catalog
from schemas.state import RequestState


def has_part(state: RequestState, user_id: str, catalog: Catalog, at: int) -> bool:
    """Whether this person is or was on the request, or is at time `at` the delegate of an approver who is or was."""
    return state.has_part(user_id) or any(state.has_approver(person) for person in catalog.delegators_of(user_id, at))
