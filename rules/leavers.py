"""Which levels of a request have lost somebody they were waiting for. Pure."""

from __future__ import annotations

from schemas.base import Level
from schemas.catalog import Catalog
from schemas.state import RequestState


def levels_left(state: RequestState, catalog: Catalog) -> tuple[Level, ...]:
    """The open and later levels that are to be staffed anew: a pinned approver is no active manager, or no new pool sufficed
    when they were looked at before. Nothing for a request that waits for nobody."""
    if state.open_index is None:
        return ()
    return tuple(
        level.level
        for level in state.levels[state.open_index :]
        if level.unstaffed or not all(catalog.is_active(person, "manager") for person in level.approvers)
    )
