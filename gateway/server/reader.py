"""Whether a client reads what it is sent: some of it all the time, and so many bytes a second on the whole."""

from __future__ import annotations

import asyncio
from typing import Any

#: A client that reads must read so many bytes a second.
SLOWEST = 8 * 1024


class Counted:
    """A transport that knows how many bytes were written to it; for all else it is the one below."""

    __slots__ = ("_below", "written")

    def __init__(self, below: asyncio.Transport) -> None:
        self._below = below
        self.written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)
        self._below.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)


class Reader:
    """`patience`: seconds without a byte taken, and what it may be late on the whole.

    A stream fills the buffer again and again, so it may never be seen empty. What counts is what was taken: bytes written that
    are no longer held. Whoever keeps pace begins anew, so that a fast start pays for no slow end.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._taken = 0
        self._last = 0.0
        self._idle = True
        self._since = 0.0
        self._base = 0

    def keeps_pace(self, now: float, written: int, held: int) -> bool:
        """Take a look: `written` bytes so far, of which `held` are not taken yet."""
        taken = written - held
        if self._idle or taken > self._taken:
            self._last = now
        on_pace = taken - self._base >= (now - self._since) * SLOWEST
        if self._idle or (on_pace and now - self._since > self._patience):
            self._since, self._base = now, taken
        self._taken, self._idle = taken, held == 0
        latest = self._since + (written - self._base) / SLOWEST
        return self._idle or now <= min(self._last, latest) + self._patience
