"""Keys of the windowed table: which rollback windows close when.

The table is a tumbling window of `BUCKET_S` seconds over the deadline (not over the decision): a durable timer wheel. A key is
the bucket's start in seconds, eight bytes big endian, then the request id, so that the sweep reads due buckets in order. The
deadline itself is in the request's record; a missing or left-over entry here can neither open nor close a window.
"""

from __future__ import annotations

BUCKET_S = 60


def bucket_start(deadline_ms: int) -> int:
    """Start of the tumbling window that holds the deadline, in seconds."""
    seconds = deadline_ms // 1000
    return seconds - seconds % BUCKET_S


def window_key(deadline_ms: int, request_id: str) -> bytes:
    return bucket_start(deadline_ms).to_bytes(8, "big") + request_id.encode()


def window_value(deadline_ms: int, decision_version: int) -> bytes:
    return b"%d:%d" % (deadline_ms, decision_version)


def read_entry(key: bytes, value: bytes) -> tuple[str, int, int]:
    """(request id, deadline in ms, version of the decision that the window is of)."""
    deadline, _, version = value.partition(b":")
    return key[8:].decode(), int(deadline), int(version)
