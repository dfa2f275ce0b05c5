"""Finds open requests that wait for somebody who left, and says so in a `Reassign` command of the system.

Like the sweep of windows it decides nothing, and it keeps nothing that could be lost: a pass reads the partition's table from
beginning to end, in slices beside the deciding, and what it finds follows from the records and the reference data alone. So
its memory does not grow with the requests, and a worker that takes the partition over simply makes a pass of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

from agents.ports import Output, Store
from agents.requests import DecisionContext
from agents.system_commands import system_command
from rules.decide import decide
from rules.leavers import levels_left
from schemas.base import Level
from schemas.catalog import Catalog
from schemas.commands import SYSTEM, Reassign
from schemas.envelope import derived_id
from schemas.state import RequestState
from tables.evolve import evolve
from tables.record import Record, pending_of

#: A slice ends after so many seconds, records, or commands found.
SLICE_S = 0.004
SLICE_RECORDS = 2000
MAX_FOUND = 100
#: Commands of a process a second, all its partitions together: what people ask for meanwhile must not wait behind all of them.
PACE = 200
#: For so long a pass lets people's commands go first that wait for the same shard; then it makes a slice beside them.
LONGEST_YIELD_S = 10.0
#: After a pass that found something another one looks whether it was done: so soon at first, then later and later.
REPEAT_AFTER_S = 20.0
LONGEST_REPEAT_S = 600.0
#: Before the first request id, and behind the marker that a fence leaves in the table.
_FIRST = b"0"


class Deciding(Protocol):
    """See `agents.requests.RequestShard`."""

    @property
    def changed(self) -> int: ...

    @property
    def reopened(self) -> int: ...

    def wrote(self, offset: int) -> bool: ...


class Pace:
    """When the next slice may be made that sends something: what one partition sends, all others wait for."""

    def __init__(self) -> None:
        self.rest_until = float("-inf")

    def sent(self, count: int, now: float) -> None:
        """So many commands were found."""
        self.rest_until = max(self.rest_until, now) + count / PACE


class Restaffing:
    """Makes a pass over one partition at the beginning, and whenever somebody may have left an open request: the reference data
    changed who can approve, or a rollback reopened a request whose approvers had left. `pace` is that of the process, `clock`
    gives seconds that never run backwards.
    """

    def __init__(
        self,
        partition: int,
        requests: Store,
        shard: Deciding,
        catalog: Catalog,
        pace: Pace,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._partition = partition
        self._requests = requests
        self._shard = shard
        self._catalog = catalog
        self._pace = pace
        self._clock = clock
        #: What the newest pass was made for.
        self._causes: tuple[int, int] | None = None
        #: Where the pass under way goes on, None when there is none; and what must be in the table before it may begin.
        self._at: bytes | None = None
        self._mark = 0
        self._found = 0
        #: Since when it lets others go first, None when it does not.
        self._yielding: float | None = None
        self._repeat_at = float("inf")
        self._pause = REPEAT_AFTER_S

    @property
    def busy(self) -> bool:
        """Whether a pass is under way and can go on at once."""
        return self._at is not None and self._clock() >= self._pace.rest_until and self._shard.wrote(self._mark)

    def work(self, now_ms: int, *, waiting: bool = False) -> list[Output]:
        """The next slice of a pass, if one is due: `Reassign` commands, about `MAX_FOUND` at most. `waiting`: whether commands wait
        for this shard.
        """
        if self._at is None:
            self._begin()
        if not self.busy or self._lets_others_go(waiting):
            return []
        found = self._slice(now_ms)
        self._found += len(found)
        if found:
            self._pace.sent(len(found), self._clock())
        if self._at is None:
            self._end()
        return found

    def _lets_others_go(self, waiting: bool) -> bool:
        now = self._clock()
        if waiting:
            self._yielding = now if self._yielding is None else self._yielding
            if now - self._yielding < LONGEST_YIELD_S:
                return True
        self._yielding = None
        return False

    def _begin(self) -> None:
        causes = (self._catalog.staffing, self._shard.reopened)
        if causes != self._causes:
            self._causes, self._pause = causes, REPEAT_AFTER_S
        elif self._clock() < self._repeat_at:
            return
        # What was decided by the reference data of before is looked at too, so it must be in the table by then.
        self._at, self._mark, self._found = _FIRST, self._shard.changed, 0

    def _end(self) -> None:
        if self._found:
            self._repeat_at, self._pause = self._clock() + self._pause, min(2 * self._pause, LONGEST_REPEAT_S)
        else:
            self._repeat_at = float("inf")

    def _slice(self, now_ms: int) -> list[Output]:
        assert self._at is not None
        found: list[Output] = []
        until = self._clock() + SLICE_S
        for seen, (key, value) in enumerate(self._requests.scan(self._at), 1):
            self._at = key + b"\x00"
            # Reading one takes as long as passing over many.
            if read := pending_of(value):
                state = Record.decode(value).state
                assert state is not None
                found += self._reassigns(state, now_ms)
            if (
                seen >= SLICE_RECORDS
                or len(found) >= MAX_FOUND
                or ((read or seen % 16 == 0) and self._clock() >= until)
            ):
                return found
        self._at = None
        return found

    def _reassigns(self, state: RequestState, now_ms: int) -> Iterator[Output]:
        """One for each level that would change: each expects the version to which the one before it leads."""
        for level in levels_left(state, self._catalog):
            command = self._command(state, level)
            decision = decide(state, command, DecisionContext(state.updated_at, self._catalog, None))
            if decision.event is not None:
                yield system_command(command, self._partition, now_ms)
                state = evolve(state, decision.event, state.id)

    def _command(self, state: RequestState, level: Level) -> Reassign:
        # Whoever looks at the same request with the same reference data makes the same command. Of others, only the first is
        # taken: the version expected by the rest is stale then.
        command_id = derived_id(state.id, "reassign", level, state.version, self._catalog.offset)
        return Reassign(
            command_id=command_id,
            request_id=state.id,
            actor_id=SYSTEM,
            correlation_id=command_id,
            reference_offset=self._catalog.offset,
            expected_version=state.version,
            level=level,
        )
