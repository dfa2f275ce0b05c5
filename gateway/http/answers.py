"""What a handler gives back: bytes, ready to be sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.types import Receive, Send

RawHeaders = Sequence[tuple[bytes, bytes]]
JSON = b"application/json"


@dataclass(slots=True)
class Answer:
    """One answer. `headers` come after the ones that every answer has; names in lower case."""

    body: bytes
    status: int = 200
    media_type: bytes = JSON
    headers: RawHeaders = ()


@dataclass(slots=True)
class Stream(Answer):
    """An answer that goes on: `run` sends its body, `close` is called however it ends, also before it began."""

    run: Callable[[Send, Receive], Awaitable[None]] = field(kw_only=True)
    close: Callable[[], None] = field(kw_only=True)


NO_CONTENT = Answer(b"", 204)


def json_answer(value: Any, status: int = 200, headers: RawHeaders = ()) -> Answer:
    """Any plain value as JSON."""
    return Answer(orjson.dumps(value), status, JSON, headers)


def etag(version: object) -> tuple[bytes, bytes]:
    """The strong entity tag of a version."""
    return b"etag", b'"%s"' % str(version).encode()


def page_answer(documents: Iterable[str], next_cursor: str | None) -> Answer:
    """A page of items that are JSON already."""
    cursor = b"null" if next_cursor is None else orjson.dumps(next_cursor)
    return Answer(b'{"items":[' + ",".join(documents).encode() + b'],"next_cursor":' + cursor + b"}")


def page_of(items: list[dict[str, Any]], next_cursor: str | None) -> Answer:
    """A page of plain values."""
    return json_answer({"items": items, "next_cursor": next_cursor})


def pieces_answer(pieces: AsyncIterator[bytes], media_type: bytes, headers: RawHeaders = ()) -> Stream:
    """A body that is made while it is sent, so that its whole is never in memory."""

    async def run(send: Send, receive: Receive) -> None:
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return Stream(b"", 200, media_type, headers, run=run, close=lambda: None)
