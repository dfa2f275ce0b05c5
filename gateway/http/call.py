"""One call as a handler sees it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fastapi import Request

from gateway import chance
from gateway.http.addresses import UNKNOWN, normal
from gateway.http.problems import Problem, malformed

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

    from gateway.identity.callers import Caller
    from gateway.services import Services

_CORRELATION = re.compile(rb"[A-Za-z0-9-]{8,64}")
# W3C Trace Context 1: version 00, no all-zero ids.
_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_ONCE = frozenset(
    b"authorization content-length content-type cookie dpop host idempotency-key if-match if-none-match last-event-id origin "
    b"transfer-encoding user-agent x-comment x-correlation-id".split()
)


class Call(Request):
    """A request with what the edge found out about it.

    `raw_headers` has names in lower case; those that must not come twice do not. `path_values` are the path's.
    `address` is the client's in its normal spelling: the peer's, or the one that a trusted proxy names.
    `caller` is there once the edge has let a signed-in person in.
    """

    services: Services
    caller: Caller
    path_values: dict[str, str]

    def __init__(self, scope: Scope, receive: Receive, services: Services) -> None:
        super().__init__(scope, receive)
        self.services = services
        self.raw_headers: dict[bytes, bytes] = dict(scope["headers"])
        given = self.raw_headers.get(b"x-correlation-id")
        self.correlation_id = given.decode() if given and _CORRELATION.fullmatch(given) else chance.uuid4()
        trace = self.raw_headers.get(b"traceparent")
        self.traceparent = trace.decode() if trace and _TRACEPARENT.fullmatch(trace) else None
        client: Any = scope.get("client")
        self.address: str = (client and normal(client[0])) or UNKNOWN
        self.path_values = {}

    def repeated(self) -> Problem | None:
        """400 when a header comes twice of which readers could take one or the other; None when all is clear."""
        if len(self.raw_headers) == len(self.scope["headers"]):
            return None
        seen: set[bytes] = set()
        for name, _ in self.scope["headers"]:
            if name in seen and name in _ONCE:
                return malformed(f"The header {name.decode()} comes twice; send it once.")
            seen.add(name)
        return None

    def text_header(self, name: bytes) -> str | None:
        """A header as text, None when it is not there."""
        value = self.raw_headers.get(name)
        return None if value is None else value.decode("latin-1")
