"""Keys of the windowed table: what time does to which request, and when.

The table is a tumbling window of `BUCKET_S` seconds over the deadline (not over what it follows from): a durable timer wheel. A
key is the bucket's start in seconds, eight bytes big endian, then the request id, so that the sweep reads due buckets in order.
The deadline itself is in the request's record; a missing or left-over entry here can neither do anything nor prevent it.
"""

from __future__ import annotations

from schemas.deadlines import KINDS, Due, Kind

BUCKET_S = 60


def bucket_start(deadline_ms: int) -> int:
    """Start of the tumbling window that holds the deadline, in seconds."""
    seconds = deadline_ms // 1000
    return seconds - seconds % BUCKET_S


def window_key(deadline_ms: int, request_id: str) -> bytes:
    return bucket_start(deadline_ms).to_bytes(8, "big") + request_id.encode()


def window_value(due: Due) -> bytes:
    """`<deadline>:<version>` for the end of a rollback window, as it always was, else with `:<kind>` behind it."""
    return b"%d:%d" % (due.at, due.version) + (b"" if due.kind == "close" else b":" + due.kind.encode())


def read_entry(key: bytes, value: bytes) -> tuple[str, Due]:
    """The request, and what is due; the version is 0 in an entry that was rebuilt, and for people's eyes in the others."""
    deadline, version, *rest = value.split(b":")
    kind: Kind = KINDS[KINDS.index(rest[0].decode())] if rest else "close"
    return key[8:].decode(), Due(int(deadline), kind, int(version))
