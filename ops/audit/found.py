"""What a verification found: counts, and the first thing that is not as it must be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from schemas import topics


class Broken(Exception):
    """The first break: `entity` is an audit chain and `seq` its record, or `entity` is a partition of the log
    (`athena.audit/<n>`) and `seq` a number of records or an offset, as `why` says. Both texts may hold what a forger wrote:
    they are cut to 200 and 1,000 characters, and `plain` makes them fit for a terminal."""

    def __init__(self, entity: str, seq: int, why: str) -> None:
        self.entity = entity[:200]
        self.seq = seq
        self.why = why[:1000]
        super().__init__(f"{self.entity} seq {self.seq}: {self.why}")


@dataclass(slots=True)
class Report:
    """What was found. `first_break` None: all is whole.

    Chains and records are PostgreSQL's. `waiting`: records of the log that PostgreSQL does not have yet. `repeats`: records that
    are in the log again after a crash. `erased`: records whose personal parts PostgreSQL no longer has. `checkpoints` were
    verified, `uncovered` records lie behind the last ones. `derived` False: the read side is being rebuilt, so requests and their
    history were not compared.
    """

    chains: int = 0
    records: int = 0
    first_break: Broken | None = None
    waiting: int = 0
    repeats: int = 0
    erased: int = 0
    checkpoints: int = 0
    uncovered: int = 0
    derived: bool = True

    def as_json(self) -> dict[str, Any]:
        """`{"ok", "chains", "records", "first_break"}`, as `GET /audit/verify` answers."""
        found = self.first_break
        return {
            "ok": found is None,
            "chains": self.chains,
            "records": self.records,
            "first_break": None if found is None else {"entity": found.entity, "seq": found.seq, "why": found.why},
        }

    def counts(self) -> dict[str, Any]:
        """The other counts, by their names."""
        names = ("waiting", "repeats", "erased", "checkpoints", "uncovered", "derived")
        return {name: getattr(self, name) for name in names}


def plain(text: object, most: int = 1500) -> str:
    """A text as one line of visible characters: what a forger wrote must not end a line, nor steer a terminal."""
    shown = str(text)
    cut = shown[:most] + "…" if len(shown) > most else shown
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in cut)


def place(partition: int) -> str:
    """How a break names a partition of the log."""
    return f"{topics.AUDIT}/{partition}"
