"""Answers to what is no call: made below the edge, in the same shape as all others."""

from __future__ import annotations

import uuid
from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.http.common_headers import headers_of
from gateway.http.edge import UNLIMITED
from gateway.http.problems import Problem, malformed, unavailable
from gateway.limits import rate_limited


class Refused(Exception):
    """Raised while a head is read; a new one each time, since an exception keeps what raised it. `reason` is the metric's label."""

    def __init__(self, reason: str, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.reason = reason
        self.problem = problem


def unreadable() -> Refused:
    """400."""
    text = "This is no HTTP/1.1 request, or one that could be read in two ways."
    return Refused("malformed", malformed(text))


def too_many_waiting(most: int) -> Refused:
    """400: requests on one connection."""
    return Refused("pipelined", malformed(f"At most {most} requests may wait on one connection."))


def long_url(most: int) -> Refused:
    """414."""
    return Refused("too-large", Problem(414, "too-large", f"The address may hold at most {most // 1024} KiB."))


def long_headers(count: int, size: int) -> Refused:
    """431."""
    text = f"There may be {count} headers, of {size // 1024} KiB together."
    return Refused("too-large", Problem(431, "too-large", text))


def slow_head(seconds: float) -> Refused:
    """408."""
    text = f"The head of the request did not arrive within {seconds:g} s."
    return Refused("slow-head", Problem(408, "malformed", text))


def too_many(most: int) -> Refused:
    """429: connections, not calls."""
    text = f"More than {most} connections from one address. Use those that are open."
    return Refused("address", rate_limited(text, 5, most))


def on_the_wire(problem: Problem, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    """The whole answer; the connection ends with it."""
    correlation_id = str(uuid.uuid4())
    answer = problem.answer(correlation_id)
    headers = [*default_headers, *headers_of(answer, correlation_id), (b"connection", b"close")]
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}".encode()]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*lines, b"", answer.body])


def crowded(app: ASGIApp) -> ASGIApp:
    """Answers 503 to all but those who watch this process."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in UNLIMITED:
            await app(scope, receive, send)
            return
        correlation_id = str(uuid.uuid4())
        found = unavailable("The gateway has as many connections as it can hold.").answer(correlation_id)
        headers = headers_of(found, correlation_id)
        await send({"type": "http.response.start", "status": found.status, "headers": headers})
        await send({"type": "http.response.body", "body": found.body})

    return answer
