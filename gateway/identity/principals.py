"""As whom somebody may look and decide: as themself, and for those who have named them their delegate now."""

from __future__ import annotations

from schemas.catalog import Catalog


def principals(catalog: Catalog, user_id: str, now_ms: int) -> tuple[str, ...]:
    """The person first, then their delegators at that time: at most a few (`rules.delegating.MAX_AT_ONCE`)."""
    return (user_id, *catalog.delegators_of(user_id, now_ms))
