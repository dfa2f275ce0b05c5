"""Cross-origin calls from browsers: closed, but for the origins that are configured."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gateway.http.answers import Answer, RawHeaders
from ops.stack.errors import WrongSettings

_ORIGIN = re.compile(r"https?://[a-z0-9.\[\]:-]{1,255}")
#: What a page may send and read besides the headers that are always allowed. No cookies: calls carry a Bearer token.
_ALLOWED = (
    b"authorization, content-type, dpop, idempotency-key, if-match, last-event-id, prefer, traceparent, x-comment, "
    b"x-correlation-id"
)
_EXPOSED = (
    b"command-id, dpop-nonce, etag, idempotent-replayed, location, preference-applied, ratelimit-limit, ratelimit-remaining, "
    b"ratelimit-reset, retry-after, www-authenticate, x-correlation-id"
)
_MAX_AGE = b"600"


class Cors:
    """Raises SystemExit for what is no origin; `*` is none."""

    def __init__(self, origins: str) -> None:
        self._origins = frozenset(origins.split())
        for origin in self._origins:
            if not _ORIGIN.fullmatch(origin):
                raise WrongSettings(
                    f"ATHENA_CORS_ORIGINS: {origin!r} is no origin. Write scheme and host in lower case, for instance "
                    "https://portal.example.com"
                )

    def allows(self, origin: bytes | None) -> bool:
        """Whether this page's scripts may read answers."""
        return origin is not None and origin.decode("latin-1") in self._origins

    def headers(self, origin: bytes | None) -> RawHeaders:
        """What an answer needs besides. It differs by origin, so caches must know."""
        if not self._origins:
            return ()
        vary = (b"vary", b"origin")
        if origin is None or not self.allows(origin):
            return (vary,)
        return (vary, (b"access-control-allow-origin", origin), (b"access-control-expose-headers", _EXPOSED))


def preflight(methods: Iterable[str]) -> Answer:
    """What a path whose calls are these methods answers to a browser that asks first."""
    return Answer(
        b"",
        204,
        headers=(
            (b"access-control-allow-methods", ", ".join(sorted(methods)).encode()),
            (b"access-control-allow-headers", _ALLOWED),
            (b"access-control-max-age", _MAX_AGE),
        ),
    )
