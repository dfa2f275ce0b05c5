"""The outermost layer of every call: correlation, rate limits, who may call, common headers, problems, metrics."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import metrics
from gateway.http.answers import Answer, Stream
from gateway.http.call import Call
from gateway.http.common_headers import NO_BODY, headers_of
from gateway.http.cors import preflight
from gateway.http.describe import API
from gateway.http.paths import Paths
from gateway.http.problems import Problem, internal, not_found, unavailable
from gateway.identity.callers import admit
from gateway.server import line

if TYPE_CHECKING:
    from gateway.services import Services

log = structlog.get_logger(__name__)

#: Calls in progress; more are answered 503 at once.
MAX_IN_PROGRESS = 4000
#: Whoever watches this process must be answered most of all when it is full.
UNLIMITED = frozenset({"/livez", "/readyz"})
#: Known devices pass here where their address has used up its rate: else whoever floods from an office keeps its people out.
SIGN_IN = ("POST", f"{API}/auth/login")
# A proxy before us may take these for text where we would take them for the end of a segment, or of a string.
_AMBIGUOUS = re.compile(rb"%(2f|5c|00)", re.IGNORECASE)


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
        path: str = scope["path"]
        limited = path not in UNLIMITED
        self._in_progress += limited
        try:
            if limited:
                await self._let_in(call)
            if _asks_first(call) and self._services.cors.allows(call.raw_headers.get(b"origin")):
                answer = preflight(self._paths.methods(path))
            else:
                endpoint, call.path_values = self._paths.find(scope["method"], path)
                route = endpoint.path
                if endpoint.access.signed_in:
                    call.caller = await admit(call, endpoint.access)
                answer = await endpoint.handler(call)
        except Problem as problem:
            answer = problem.answer(call.correlation_id)
        except asyncio.CancelledError:
            answer = unavailable("The gateway is stopping.").answer(call.correlation_id)
        except Exception:
            log.exception(
                "a call failed", route=route, correlation_id=call.correlation_id, traceparent=call.traceparent
            )
            answer = internal().answer(call.correlation_id)
        finally:
            self._in_progress -= limited
        metrics.observe_request(route, scope["method"], answer.status, time.perf_counter() - started)
        await self._send(send, answer, call)

    async def _let_in(self, call: Call) -> None:
        """Raises Problem 429, 503, 400, 404: what holds for every path."""
        services = self._services
        call.address = services.proxies.client_of(call.address, call.scope["headers"])
        if (call.method, call.scope["path"]) == SIGN_IN:
            await services.limits.address(call.address, lambda: services.cookies.account_of(call))
        else:
            await services.limits.address(call.address)
        if not services.started:
            raise unavailable("The gateway is starting.")
        if self._in_progress > MAX_IN_PROGRESS:
            raise unavailable("The gateway has more calls in progress than it can hold.")
        if (repeated := call.repeated()) is not None:
            raise repeated
        if _AMBIGUOUS.search(call.scope["raw_path"]):
            raise not_found()

    async def _send(self, send: Send, answer: Answer, call: Call) -> None:
        headers = headers_of(answer, call.correlation_id)
        headers.extend(self._services.cors.headers(call.raw_headers.get(b"origin")))
        if call.traceparent:
            headers.append((b"traceparent", call.traceparent.encode()))
        start = {"type": "http.response.start", "status": answer.status, "headers": headers}
        if isinstance(answer, Stream):
            try:
                await send(start)
                await answer.run(send, call.receive)
            finally:
                answer.close()
            return
        if answer.status == NO_BODY or not line.answer(send, answer.status, headers, answer.body):
            await send(start)
            await send({"type": "http.response.body", "body": answer.body})


def _asks_first(call: Call) -> bool:
    """Whether a browser asks what it may send (Fetch standard, CORS-preflight)."""
    return call.method == "OPTIONS" and b"access-control-request-method" in call.raw_headers
