"""How long to wait between polls, so that a busy stream is written in fewer, bigger batches.

A batch costs about 0.6 ms of CPU here and 1.2 ms in PostgreSQL before its first record, and 0.05 ms and 0.1 ms for each record;
several events of one request in one batch are one write of its rows (measured on two cores). A quiet stream is not kept waiting.
"""

from __future__ import annotations

import math

#: Records per second below which there is no wait.
QUIET = 100.0
#: What the wait comes near to as the stream gets busier, in seconds: what a reader may be behind, half of it on average.
LONGEST = 0.15
#: A batch this big follows a backlog: no wait.
BACKLOG = 400
#: Over how many seconds the rate is taken: a handful of records at once is no busy stream.
_SPAN = 0.5


class Pace:
    """Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._rate = 0.0
        self._last = 0.0
        self._size = 0

    def rate(self, now: float) -> float:
        """Records per second lately."""
        return self._rate * math.exp((self._last - now) / _SPAN)

    def delivered(self, records: int, now: float) -> None:
        """A poll brought so many records."""
        self._rate = self.rate(now) + records / _SPAN
        self._last, self._size = now, records

    def wait(self, now: float) -> float:
        """Seconds until the next poll should be made."""
        rate = self.rate(now)
        if rate < QUIET or self._size >= BACKLOG:
            return 0.0
        return max(0.0, self._last + LONGEST * (1 - QUIET / rate) - now)
