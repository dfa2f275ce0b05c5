"""What an answer that goes on asks of the connection below it. The server's `send` belongs to the call's cycle, which has the
transport (uvicorn, whose version is pinned); where it is another one, nothing is asked."""

from __future__ import annotations

import socket
from typing import Any

from starlette.types import Send


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
