"""What a call asks of the connection below it. The server's `send` and `receive` belong to the call's cycle, which has the
transport (uvicorn, whose version is pinned); where they are others, nothing is asked."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from typing import Any

from starlette.types import Receive, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

#: As uvicorn has it: what would end a header's line.
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def answer(send: Send, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
    """Send a whole answer, which has a Content-Length, with one write; False when it must go by `send`.

    uvicorn writes head and body apart, which is two system calls, and looks at each header by itself. It keeps what is not plain:
    who has gone or does not read, HEAD, and the connection's end by a header.

    Raises:
        RuntimeError: a header holds what would end its line.
    """
    cycle = getattr(send, "__self__", None)
    if (
        not isinstance(cycle, RequestResponseCycle)
        or cycle.disconnected
        or cycle.response_started
        or cycle.flow.write_paused
        or cycle.scope["method"] == "HEAD"
    ):
        return False
    head = [STATUS_LINE[status]]
    for name, value in (*cycle.default_headers, *headers):
        if name == b"connection":
            return False
        head += (name, b": ", value, b"\r\n")
    if _CONTROL.search(b"".join([value for _, value in headers])):
        raise RuntimeError("Invalid HTTP header value.")
    head.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
    head.append(body)
    cycle.response_started = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(b"".join(head))
    cycle.response_complete = True
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True


def body(receive: Receive) -> bytes | None:
    """The call's body as `receive` hands it over, when all of it is here and nobody has taken of it. None: `receive` it."""
    cycle = getattr(receive, "__self__", None)
    if (
        not isinstance(cycle, RequestResponseCycle)
        or cycle.more_body
        or cycle.waiting_for_100_continue
        or cycle.disconnected
        or cycle.response_complete
    ):
        return None
    cycle.flow.resume_reading()
    cycle.message_event.clear()
    found, cycle.body = cycle.body, bytearray()
    return bytes(found)


def abort(send: Send) -> None:
    """End the connection, whatever of the answer the client has not read."""
    transport = _transport(send)
    if transport is not None:
        transport.abort()


def is_closing(send: Send) -> bool:
    """Whether the connection is at its end, so that nothing can be sent."""
    transport = _transport(send)
    return transport is not None and bool(transport.is_closing())


def narrow(send: Send, size: int) -> None:
    """Let the kernel hold so many bytes for a client that does not read; by itself it would take megabytes."""
    transport = _transport(send)
    line = None if transport is None else transport.get_extra_info("socket")
    if line is not None:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)


def _transport(send: Send) -> Any:
    return getattr(getattr(send, "__self__", None), "transport", None)
