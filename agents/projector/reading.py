"""Where a projector reads, and which of the records that reach it still count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from agents.projector.ports import Poll, Slice
from agents.projector.record import Poison

log = structlog.get_logger(__name__)


class Reading:
    """`epoch` changes with every resync: what was asked for before is void. `next` is per partition the next offset to read,
    known once `sought`."""

    def __init__(self) -> None:
        self.epoch = 0
        self.sought = False
        self.next: dict[int, int] = {}

    def resync(self) -> None:
        """Ask the read side where it stands before the next poll."""
        self.epoch += 1
        self.sought = False

    def begin(self, applied: Mapping[int, int]) -> None:
        """Read on from what was applied."""
        self.next = dict(applied)
        self.sought = True

    def take(self, epoch: int, found: Mapping[int, Sequence[Any]], positions: Mapping[int, int | None]) -> Poll | None:
        """The poll that these records make; None for records that must be fetched anew, or are not ours.

        `positions` are where fetching goes on by itself: past control records, which nobody is given.
        """
        if epoch != self.epoch or not self.sought:
            self.resync()
            return None
        slices = []
        for partition, records in found.items():
            if partition not in self.next or not records:
                continue
            if records[0].offset < self.next[partition]:
                log.warning("the log went back; seeking again", partition=partition, offset=records[0].offset)
                self.resync()
                return None
            last = max(records[-1].offset + 1, positions.get(partition) or 0)
            slices.append(Slice(partition, self.next[partition], list(records), last))
            self.next[partition] = last
        return Poll(epoch, slices) if slices else None


def check_bounds(partition: int, applied: int, begin: int, end: int) -> None:
    """The log must still hold what comes next, and must hold what was applied. Raises `Poison`."""
    if applied > end:
        raise Poison(
            f"the log ends at {end}, but {applied} records were applied: it has lost records", partition, applied
        )
    if applied < begin:
        raise Poison(f"the log begins at {begin}, but only those before {applied} were applied", partition, applied)
