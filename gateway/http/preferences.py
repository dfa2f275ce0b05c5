"""The `Prefer` header (RFC 7240): how long a command's POST waits for its outcome."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST = 60.0
_WAIT = re.compile(r"wait\s*=\s*\"?([0-9]{1,9})\"?")


@dataclass(frozen=True, slots=True)
class Preference:
    """`seconds` to wait; 0 is not at all. `applied` is the answer's `Preference-Applied`, if any."""

    seconds: float
    applied: bytes | None


def preference(header: str | None, default: float) -> Preference:
    """What the caller prefers; what cannot be understood is ignored, as the RFC wants it."""
    if not header:
        return Preference(default, None)
    respond_async = False
    wait: float | None = None
    for part in header.split(","):
        word = part.partition(";")[0].strip().lower()
        if word == "respond-async":
            respond_async = True
        elif wait is None and (match := _WAIT.fullmatch(word)):
            wait = min(float(match.group(1)), LONGEST)
    if wait is not None:
        return Preference(wait, b"wait=%d" % wait)
    return Preference(0.0, b"respond-async") if respond_async else Preference(default, None)
