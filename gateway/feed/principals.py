"""For whom somebody decides: themself, and those who have named them as their delegate for now."""

from __future__ import annotations

import hashlib

from schemas.catalog import Catalog

#: Of more, the rest is not followed: a bookmark holds a hash of each.
MOST = 32
HASH_BYTES = 8


def principals(catalog: Catalog, user_id: str, now_ms: int) -> tuple[str, ...]:
    """The person first, then those for whom they decide now; at most `MOST`."""
    return (user_id, *catalog.delegators_of(user_id, now_ms))[:MOST]


def hash_of(user_id: str) -> bytes:
    """What a bookmark keeps of a person."""
    return hashlib.sha256(user_id.encode()).digest()[:HASH_BYTES]


def known_by(catalog: Catalog, hashed: bytes) -> str | None:
    """Whose hash it is; None when they are not there any more."""
    return next((user_id for user_id in catalog.users if hash_of(user_id) == hashed), None)
