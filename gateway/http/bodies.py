"""Reads a JSON body within its limit, and checks it against its model."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from gateway.http.call import Call
from gateway.http.problems import FieldError, Problem, invalid, malformed, unavailable
from gateway.server import line

MAX_BODY = 1024 * 1024
#: Of a batch of what was done offline.
MAX_SYNC_BODY = 4 * MAX_BODY
#: What is read and thrown away beyond the limit, so that an honest client gets to see the answer; in bytes and seconds.
_DRAIN_BYTES = 32 * 1024 * 1024
_DRAIN_SECONDS = 5.0
#: Bytes of bodies that are still arriving, of all calls together.
MAX_ARRIVING = 256 * 1024 * 1024
_MAX_ERRORS = 20

Model = TypeVar("Model", bound=BaseModel)


async def read_body(call: Call, model: type[Model], *, optional: bool = False, limit: int = MAX_BODY) -> Model:
    """The body as `model`, of at most `limit` bytes. With `optional`, no body at all counts as `{}`.

    Raises:
        Problem: 413, 415, 400 for what is no JSON, 422 with a pointer to each place that is wrong.
    """
    data = await read_bytes(call, limit)
    if not data and optional:
        data = b"{}"
    elif not is_json(call.raw_headers.get(b"content-type")):
        raise Problem(415, "unsupported-media-type", "Send the body as application/json.")
    return parse(data, model)


def parse(data: bytes, model: type[Model]) -> Model:
    """The bytes as `model`; see `read_body`."""
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        if found[0]["type"] == "json_invalid":
            raise malformed(
                "The body is not JSON. " + found[0]["msg"].removeprefix("Invalid JSON: ").capitalize()
            ) from None
        raise invalid(*field_errors(error)) from None


def field_errors(error: ValidationError) -> list[FieldError]:
    """Each place that is wrong, and what is wrong there; what was sent is not repeated."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        {"pointer": pointer(each["loc"]), "detail": each["msg"].removeprefix("Value error, ")}
        for each in found[:_MAX_ERRORS]
    ]


def pointer(loc: tuple[int | str, ...]) -> str:
    """RFC 6901 pointer of a place in the body."""
    return "".join("/" + str(part)[:200].replace("~", "~0").replace("/", "~1") for part in loc)


def is_json(content_type: bytes | None) -> bool:
    """Whether it is application/json, in UTF-8 if it says so."""
    return media_type(content_type) == "application/json"


def media_type(content_type: bytes | None) -> str | None:
    """The type without its parameters; None when there is none, or a charset that is not UTF-8."""
    if content_type is None:
        return None
    media, _, parameters = content_type.lower().partition(b";")
    plain = parameters.replace(b" ", b"").replace(b'"', b"")
    return media.strip().decode("latin-1") if plain in (b"", b"charset=utf-8") else None


class _Arriving:
    """Counts what is held of bodies that are not complete yet."""

    total = 0


async def read_bytes(call: Call, limit: int) -> bytes:
    """The body's bytes, at most `limit` of them held, and of all bodies together at most `MAX_ARRIVING`.

    Raises:
        Problem: 413; 400 for one that did not arrive within `ATHENA_BODY_SECONDS`; 503 when too much of others is arriving.
    """
    declared = call.raw_headers.get(b"content-length", b"0")
    if not declared.isdigit() or int(declared) > limit:
        raise await _too_large(call, limit, 0)
    here = line.body(call.receive)
    if here is None:
        return await _arriving(call, limit)
    if len(here) > limit:
        raise too_large(limit)
    return here


async def _arriving(call: Call, limit: int) -> bytes:
    seconds = call.services.settings.body_seconds
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await call.receive()
                if message["type"] != "http.request":
                    raise malformed("The body ended early.")
                chunk = message.get("body", b"")
                size += len(chunk)
                _Arriving.total += len(chunk)
                if size > limit:
                    raise await _too_large(call, limit, size) if message.get("more_body") else too_large(limit)
                if _Arriving.total > MAX_ARRIVING:
                    raise unavailable("Too much is being sent to this gateway at once.")
                chunks.append(chunk)
                if not message.get("more_body"):
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    except TimeoutError:
        slow = malformed(f"The body did not arrive within {seconds:g} s.")
        slow.headers = ((b"connection", b"close"),)
        raise slow from None
    finally:
        _Arriving.total -= size


def too_large(limit: int) -> Problem:
    text = f"The body may hold at most {limit // 1024} KiB."
    return Problem(413, "too-large", text, headers=((b"connection", b"close"),))


async def _too_large(call: Call, limit: int, size: int) -> Problem:
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while size < _DRAIN_BYTES:
                message = await call.receive()
                size += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body"):
                    break
    except TimeoutError:
        pass
    return too_large(limit)
