"""The outermost layer of every call: correlation, rate limits, who may call, common headers, problems, metrics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import metrics
from gateway.http.answers import Answer
from gateway.http.call import Call
from gateway.http.paths import Paths
from gateway.http.problems import Problem, internal, unavailable
from gateway.identity.callers import admit

if TYPE_CHECKING:
    from gateway.services import Services

log = structlog.get_logger(__name__)

#: Calls in progress; more are answered 503 at once.
MAX_IN_PROGRESS = 4000
COMMON_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"strict-transport-security", b"max-age=63072000; includeSubDomains"),
    (b"referrer-policy", b"no-referrer"),
)
#: Whoever watches this process must be answered most of all when it is full.
_UNLIMITED = frozenset({"/livez", "/readyz"})


class Edge:
    """ASGI. Lifespan goes to the framework's router, calls go to their endpoint."""

    def __init__(self, paths: Paths, services: Services, lifespan: ASGIApp) -> None:
        self._paths = paths
        self._services = services
        self._lifespan = lifespan
        self._in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._lifespan(scope, receive, send)
            return
        started = time.perf_counter()
        call = Call(scope, receive, self._services)
        route = "none"
        self._in_progress += 1
        try:
            path: str = scope["path"]
            if path not in _UNLIMITED:
                self._services.limits.address(call.address)
                if not self._services.started:
                    raise unavailable("The gateway is starting.")
                if self._in_progress > MAX_IN_PROGRESS:
                    raise unavailable("The gateway has more calls in progress than it can hold.")
            endpoint, call.path_values = self._paths.find(scope["method"], path)
            route = endpoint.path
            if endpoint.access.signed_in:
                call.caller = await admit(call, endpoint.access)
            answer = await endpoint.handler(call)
        except Problem as problem:
            answer = problem.answer(call.correlation_id)
        except Exception:
            log.exception(
                "a call failed", route=route, correlation_id=call.correlation_id, traceparent=call.traceparent
            )
            answer = internal().answer(call.correlation_id)
        finally:
            self._in_progress -= 1
        metrics.observe_request(route, scope["method"], answer.status, time.perf_counter() - started)
        await _send(send, answer, call)


async def _send(send: Send, answer: Answer, call: Call) -> None:
    headers = [
        (b"content-length", str(len(answer.body)).encode()),
        (b"x-correlation-id", call.correlation_id.encode()),
        *(common for common in COMMON_HEADERS if all(common[0] != own[0] for own in answer.headers)),
        *answer.headers,
    ]
    if answer.body:
        headers.append((b"content-type", answer.media_type))
    if call.traceparent:
        headers.append((b"traceparent", call.traceparent.encode()))
    if answer.status == 204:  # RFC 9110, 8.6: no Content-Length
        del headers[0]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
