"""What the projector needs of the world. `consumer.py` and `store.py` bring Kafka and PostgreSQL, the simulator its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from agents.projector.batch import Batch
from agents.projector.record import Poison


@dataclass(frozen=True, slots=True)
class Slice:
    """The records of one partition from `start` on; reading goes on at `next_offset`."""

    partition: int
    start: int
    records: list[Any]
    next_offset: int


@dataclass(frozen=True, slots=True)
class Poll:
    """What one poll brought. `epoch` changes with every seek: records of an earlier one are void."""

    epoch: int
    slices: list[Slice]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`held`: the offsets were where the batch begins, so it was written. If not, nothing was."""

    held: bool


class Unavailable(Exception):
    """The read side cannot be used now; trying again later may help."""


class ReadSide(Protocol):
    """Rows and the offsets applied, which commit together or not at all."""

    async def offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        """The next offset to be applied of each partition, 0 where none was. Raises `Unavailable`."""
        ...

    async def write(self, batch: Batch) -> Verdict:
        """Write the batch and its offsets, or nothing.

        Raises:
            Unavailable: no answer came; whether the batch was committed is not known, repeating it is safe.
            Poison: the batch does not follow what was applied, or differs from it, or cannot be stored.
        """
        ...


def judge(row: Mapping[str, Any]) -> Verdict:
    """The statement's answer: `held`, `differs`, `chain_gap`, `version_gap`. Raises `Poison` for what must not be skipped."""
    if not row["held"]:
        return Verdict(held=False)
    if row["differs"] is not None:
        raise Poison(f"{row['differs']} was applied before with other contents")
    if row["chain_gap"] is not None:
        raise Poison(f"gap: {row['chain_gap']} does not follow what was applied")
    if row["version_gap"] is not None:
        raise Poison(f"gap in versions: request {row['version_gap']}")
    return Verdict(held=True)
