"""How long to wait between one batch and the next, so that a busy stream is handled in fewer, bigger batches.

What a batch costs before its first record (a request, a wake-up, a statement) is shared by its records. A quiet stream is not kept
waiting at all.
"""

from __future__ import annotations

import math

#: Over how many seconds the rate is taken: a handful of records at once is no busy stream.
_SPAN = 0.5


class Rate:
    """Records a second lately: each counts over `span` seconds and fades. Times are seconds of one monotonic clock; `last` is when
    records were added last, `then` the rate at that moment.
    """

    def __init__(self, span: float) -> None:
        self.last = float("-inf")
        self.then = 0.0
        self._span = span

    def at(self, now: float) -> float:
        """The rate as of now."""
        return self.then * math.exp((self.last - now) / self._span)

    def add(self, records: int, now: float) -> None:
        """So many records came or went."""
        self.then = self.at(now) + records / self._span
        self.last = now


class Pace:
    """Times are seconds of one monotonic clock.

    `longest`: what the wait comes near to as the stream gets busier. `quiet`: records a second below which there is none. After a
    batch of `backlog` records there is none either: more are waiting.
    """

    def __init__(self, longest: float, *, quiet: float = 100.0, backlog: int = 100) -> None:
        self._longest = longest
        self._quiet = quiet
        self._backlog = backlog
        self._rate = Rate(_SPAN)
        self._size = 0

    def delivered(self, records: int, now: float) -> None:
        """A batch of so many records was taken."""
        self._rate.add(records, now)
        self._size = records

    def wait(self, now: float) -> float:
        """Seconds until the next batch should be taken."""
        rate = self._rate.at(now)
        if rate < self._quiet or self._size >= self._backlog:
            return 0.0
        return max(0.0, self._rate.last + self._longest * (1 - self._quiet / rate) - now)
