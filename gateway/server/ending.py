"""Ends the connection that an answer is sent on, whatever of it the client has not read."""

from __future__ import annotations

from typing import Any

from starlette.types import Send


def abort(send: Send) -> None:
    """The server's `send` belongs to the call's cycle, which has the transport (uvicorn 0.5x); anything else is left alone."""
    transport: Any = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()
