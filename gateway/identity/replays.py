"""Remembers which proofs were used, until they would be too old anyway. Bounded: 20 MB at most."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

from gateway.http.problems import unavailable

MOST = 100_000
#: Of one user, however many keys they have: what their rate limit lets through while a proof is remembered, so that nobody
#: fills it for all others.
MOST_OF_ONE = 15_000


class Replays:
    """In this process: a proof could be shown once to each gateway."""

    def __init__(self, keep_seconds: float, clock: Callable[[], float] = time.monotonic, most: int = MOST) -> None:
        self._keep = keep_seconds
        self._clock = clock
        self._most = most
        self._seen: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._counts: dict[str, int] = {}

    def seen(self, jkt: str, jti: str) -> bool:
        """Whether the proof was used before."""
        return _key(jkt, jti) in self._seen

    def spend(self, jkt: str, jti: str, user_id: str) -> bool:
        """Use the user's proof up; False when it was before. Raises Problem 503 when no more can be remembered."""
        now = self._clock()
        while self._seen:
            key, (until, owner) = next(iter(self._seen.items()))
            if until > now:
                break
            self._forget(key, owner)
        key = _key(jkt, jti)
        if key in self._seen:
            return False
        count = self._counts.get(user_id, 0)
        if len(self._seen) >= self._most or count >= MOST_OF_ONE:
            raise unavailable("Too many proofs are remembered at this moment.", retry_after=5)
        self._seen[key] = (now + self._keep, user_id)
        self._counts[user_id] = count + 1
        return True

    def _forget(self, key: bytes, user_id: str) -> None:
        del self._seen[key]
        self._counts[user_id] -= 1
        if not self._counts[user_id]:
            del self._counts[user_id]


def _key(jkt: str, jti: str) -> bytes:
    return hashlib.sha256(f"{jkt}\0{jti}".encode("utf-8", "surrogatepass")).digest()[:16]
