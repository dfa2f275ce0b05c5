"""Every record of a partition, in order, without a hole: what a consumer may hand on.

Faust reads the group's generation only after a fetch has come back. A fetch from before a rebalance then looks like one of the new
assignment: its records lie beyond the offset that was just sought, Faust takes the hole for records that do not exist, and commits
past it. Seen on a worker that lost and got its partitions back over a slow line: acknowledged commands were never decided.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import Generic, TypeVar

P = TypeVar("P", bound=Hashable)


class Verdict(Enum):
    """`SEEK`: go back to `Continuity.expected` and read again."""

    DELIVER = "deliver"
    DROP = "drop"
    SEEK = "seek"


class Continuity(Generic[P]):
    """Pure. `begin` says where reading starts, `judge` is told each record in the order in which it comes, and `forget` that what
    begins next is another assignment: nothing is handed on before it has begun."""

    def __init__(self) -> None:
        self._expected: dict[P, int] = {}
        self._jumped: dict[P, tuple[int, int]] = {}

    def begin(self, partition: P, offset: int) -> None:
        """Reading starts at that offset, now."""
        self._expected[partition] = offset
        self._jumped.pop(partition, None)

    def forget(self) -> None:
        """The partitions are assigned anew. What came next before the rebalance was handed on, perhaps, and never decided."""
        self._expected.clear()
        self._jumped.clear()

    def expected(self, partition: P, otherwise: int = 0) -> int:
        """The offset that must come next; `otherwise` where nobody has said."""
        return self._expected.get(partition, otherwise)

    def judge(self, partition: P, offset: int) -> Verdict:
        """What to do with a record. A hole that is still there when it is read again is real: retention, or control records.

        What follows the record before which a hole was seen first may be the rest of the fetch that brought it. An earlier one
        is not: a hole before that is another one.
        """
        wanted = self._expected.get(partition)
        if wanted is None:
            return Verdict.DROP
        if offset == wanted or self._jumped.get(partition) == (wanted, offset):
            self._expected[partition] = offset + 1
            self._jumped.pop(partition, None)
            return Verdict.DELIVER
        if offset < wanted:
            return Verdict.DROP
        before, jumped_to = self._jumped.get(partition, (-1, -1))
        first = before != wanted or offset < jumped_to
        if first:
            self._jumped[partition] = (wanted, offset)
        return Verdict.SEEK if first else Verdict.DROP
