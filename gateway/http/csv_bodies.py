"""Reads a body that is a file of comma-separated values."""

from __future__ import annotations

from gateway.http.bodies import MAX_BODY, read_bytes
from gateway.http.call import Call
from gateway.http.problems import Problem

MEDIA_TYPE = b"text/csv; charset=utf-8; header=present"
_PARAMETERS = frozenset({b"charset=utf-8", b"header=present"})


async def read_csv(call: Call) -> bytes:
    """The file. Raises Problem 413, 415, and what `read_bytes` raises."""
    data = await read_bytes(call, MAX_BODY)
    media, *parameters = (call.raw_headers.get(b"content-type") or b"").lower().replace(b" ", b"").split(b";")
    if media != b"text/csv" or not _PARAMETERS.issuperset(filter(None, (one.replace(b'"', b"") for one in parameters))):
        raise Problem(415, "unsupported-media-type", "Send the file as text/csv, in UTF-8.")
    return data
