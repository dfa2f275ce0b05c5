"""How long to gather under load, so that what a message costs is paid for many records at once.

To the broker and back costs the same for one record as for sixteen, here, in the broker and in whoever reads what was written.
A quiet stream is not kept waiting at all.
"""

from __future__ import annotations

from ops.pace import Rate

#: Records that a message should have before it is worth its fixed cost.
TARGET = 16
#: Longest wait in seconds since the message before, and the records per second below which there is none.
LONGEST = 0.010
QUIET = 150.0
#: Seconds that a record counts in the rate: long enough that the four commands of one request make no rush.
_MEMORY = 0.25


class Pace:
    """Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._rate = Rate(_MEMORY)

    def moved(self, records: int, now: float) -> None:
        """A message with so many records came or went."""
        self._rate.add(records, now)

    def wait(self, now: float) -> float:
        """Seconds until the next one should; 0 for at once."""
        if self._rate.then < QUIET:
            return 0.0
        return max(0.0, self._rate.last + min(LONGEST, TARGET / self._rate.then) - now)
