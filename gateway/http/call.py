"""One call as a handler sees it."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

from fastapi import Request

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

    from gateway.identity.callers import Caller
    from gateway.services import Services

_CORRELATION = re.compile(rb"[A-Za-z0-9-]{8,64}")
# W3C Trace Context 1: version 00, no all-zero ids.
_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Call(Request):
    """A request with what the edge found out about it.

    `raw_headers` has names in lower case; where a name comes twice, the last one counts. `path_values` are the path's.
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
        self.correlation_id = given.decode() if given and _CORRELATION.fullmatch(given) else str(uuid.uuid4())
        trace = self.raw_headers.get(b"traceparent")
        self.traceparent = trace.decode() if trace and _TRACEPARENT.fullmatch(trace) else None
        client: Any = scope.get("client")
        self.address: str = client[0][:64] if client else "unknown"
        self.path_values = {}

    def text_header(self, name: bytes) -> str | None:
        """A header as text, None when it is not there."""
        value = self.raw_headers.get(name)
        return None if value is None else value.decode("latin-1")
