"""The system's `Reassign`: who left is replaced in every open request, once, whatever happens in between."""

from __future__ import annotations

from typing import Any

import pytest

from agents.ports import Effects
from agents.requests import REQUESTS
from agents.restaffing import LONGEST_YIELD_S, PACE, REPEAT_AFTER_S, SLICE_S, Pace, Restaffing
from schemas.commands import COMMANDS, Reassign
from schemas.reference import Role
from tables.record import Record, pending_of
from tests.unit.agents.harness import PARTITION, Worker, commit, written
from tests.unit.core.organisation import (
    HOUR,
    REQUEST_ID,
    approve,
    assignment,
    catalog,
    close,
    comment,
    fixed_rules,
    rollback,
    submit,
    user,
)

OTHER = "1f8fad5b-d9cb-469f-a165-70867728950f"


class Rig:
    """A worker of one partition with its restaffing, and a clock that stands still until it is told to go on."""

    def __init__(
        self, pools: dict[Any, tuple[str, ...]], quorum: dict[str, Any] | None = None, pace: Pace | None = None
    ) -> None:
        self.worker = Worker(catalog(pools), fixed_rules(tuple(pools), quorum or {}))
        self.seconds = 0.0
        self.pace = pace or Pace()
        self.restart()

    def restart(self) -> None:
        """A crash: only the table stays."""
        self.worker.restart()
        store, shard = self.worker.stores[REQUESTS], self.worker.shard
        self.restaffing = Restaffing(PARTITION, store, shard, self.worker.catalog, self.pace, lambda: self.seconds)

    def look(self) -> list[Reassign]:
        """What a pass finds."""
        self.seconds += 1
        self.worker.shard.settled(self.worker.offset + 1)
        found = []
        for output in self.restaffing.work(0):
            command = COMMANDS.validate_json(output.value or b"")
            assert isinstance(command, Reassign)
            found.append(command)
        return found

    def replace(self) -> list[str | None]:
        """A pass, and what becomes of its commands."""
        return [self.worker.code(command) for command in self.look()]

    def put(self, who: str, roles: tuple[Role, ...] = ("manager",), *, active: bool = True) -> None:
        before = self.worker.catalog.users[who]
        changed = user(who, *roles, active=active)
        self.worker.catalog.put(changed.model_copy(update={"version": before.version + 1}))

    def pools(self) -> list[tuple[str, ...]]:
        state = self.worker.record().state
        assert state is not None
        return [level.approvers for level in state.levels]


def test_who_is_deactivated_is_replaced_at_every_level_that_is_still_to_come() -> None:
    """A request waits for ever for somebody who left the company."""
    rig = Rig({"L1": ("ann", "bob"), "L2": ("ann", "cid")})
    rig.worker.send(submit())
    assert rig.look() == []
    rig.put("ann", active=False)
    assert rig.replace() == [None, None]
    assert rig.pools() == [("bob",), ("cid",)]


def test_whether_a_request_waits_is_told_from_its_bytes_alone() -> None:
    """A request that waits would be passed over, or every finished one read whole."""
    rig = Rig({"L1": ("ann", "bob"), "L2": ("cid",)})
    seen = []
    for command, at in (
        (submit(), 0), (comment(), 1), (approve("ann"), 2), (approve("cid"), 3), (rollback("cid"), 4), (approve("cid"), 5),
        (comment(), 6), (close(6), 25 * HOUR), (comment(), 26 * HOUR),
    ):  # fmt: skip
        assert rig.worker.code(command, at) is None
        data = rig.worker.stores[REQUESTS].rows[REQUEST_ID.encode()]
        state = Record.decode(data).state
        assert state is not None
        seen.append(pending_of(data))
        assert seen[-1] is state.pending
    assert seen == [True, True, True, False, True, False, False, False, False]


def test_who_is_no_manager_any_more_is_replaced() -> None:
    """Somebody who lost the role keeps a request waiting."""
    rig = Rig({"L1": ("ann", "bob")})
    rig.worker.send(submit())
    rig.put("ann", ("sales",))
    assert rig.replace() == [None] and rig.pools() == [("bob",)]


def test_a_level_that_is_past_and_a_request_that_waits_for_nobody_are_left_alone() -> None:
    """Every request that somebody ever decided is changed when they leave."""
    rig = Rig({"L1": ("ann", "bob"), "L2": ("cid", "dee")})
    rig.worker.send(submit())
    rig.worker.send(approve("ann"))
    rig.put("ann", active=False)
    assert rig.look() == []
    rig.worker.send(approve("cid"))
    rig.put("cid", active=False)
    assert rig.look() == []


def test_a_rollback_that_reopens_a_level_of_somebody_who_left_is_seen() -> None:
    """A request reopened after a departure waits for the one who left."""
    rig = Rig({"L1": ("ann", "bob"), "L2": ("cid", "dee")})
    rig.worker.send(submit())
    rig.worker.send(approve("ann"))
    rig.worker.send(approve("cid"))
    rig.put("dee", active=False)
    assert rig.look() == []
    rig.worker.send(rollback("cid"))
    assert rig.replace() == [None] and rig.pools()[1] == ("cid",)


def test_what_was_sent_twice_is_done_once() -> None:
    """A crash after sending makes two events and two rounds of messages out of one departure."""
    rig = Rig({"L1": ("ann", "bob")})
    rig.worker.send(submit())
    rig.put("ann", active=False)
    (first,) = rig.look()
    rig.restart()
    (again,) = rig.look()
    assert first.command_id == again.command_id
    rig.worker.catalog.offset += 1  # another worker, which has read on, finds the same once more
    rig.restart()
    (other,) = rig.look()
    assert rig.worker.code(first) is None
    version = rig.worker.record().state.version  # type: ignore[union-attr]
    assert rig.worker.code(again) is None, "the same command, the same outcome"
    assert rig.worker.code(other, 0) == "stale-version"
    assert rig.worker.record().state.version == version  # type: ignore[union-attr]


def test_what_was_lost_is_sent_again() -> None:
    """A crash before the command arrives leaves the request waiting for who left."""
    rig = Rig({"L1": ("ann", "bob")})
    rig.worker.send(submit())
    rig.put("ann", active=False)
    (lost,) = rig.look()
    assert rig.look() == []
    rig.seconds += REPEAT_AFTER_S
    assert [one.command_id for one in rig.look()] == [lost.command_id]


def test_a_decision_that_comes_between_is_looked_at_again() -> None:
    """A vote that races with a departure leaves the request waiting for who left."""
    rig = Rig({"L1": ("ann", "bob", "cid")}, {"L1": 2})
    rig.worker.send(submit())
    rig.put("ann", active=False)
    (early,) = rig.look()
    rig.worker.send(approve("bob"))
    assert rig.worker.code(early) == "stale-version"
    rig.seconds += REPEAT_AFTER_S
    assert rig.replace() == [None] and rig.pools() == [("bob", "cid")]


def test_nobody_left_to_decide_is_flagged_once_and_tried_again_when_somebody_comes() -> None:
    """A request without approvers is flagged for ever, or again and again until its history is full."""
    rig = Rig({"L1": ("ann",)})
    rig.worker.send(submit())
    rig.put("ann", active=False)
    assert rig.replace() == [None] and ("Reassign", "unstaffed") in rig.worker.observed
    version = rig.worker.record().state.version  # type: ignore[union-attr]
    for _ in range(3):
        rig.seconds += REPEAT_AFTER_S
        assert rig.look() == []
    rig.worker.catalog.put(assignment("L2", "bob"))
    assert rig.look() == [], "an assignment that does not help is no reason for another event"
    rig.worker.catalog.put(assignment("L1", "bob"))
    assert rig.replace() == [None] and rig.pools() == [("bob",)]
    assert rig.worker.record().state.version == version + 1  # type: ignore[union-attr]


def test_who_comes_back_ends_the_flag() -> None:
    """The next departure of somebody who was away once is not replaced, as if it were known."""
    rig = Rig({"L1": ("ann",)})
    rig.worker.send(submit())
    for active in (False, True):
        rig.put("ann", active=active)
        assert rig.replace() == [None]
    assert rig.worker.record().state.levels[0].unstaffed is False  # type: ignore[union-attr]


def test_a_request_that_was_being_written_when_somebody_left_is_not_missed() -> None:
    """A request filed in the second of a departure waits for who left, until the next restart."""
    rig = Rig({"L1": ("ann", "bob")})
    assert rig.look() == []
    effects = Effects()
    rig.worker.offset += 1
    rig.worker.shard.handle(written(submit(), rig.worker.offset), effects)
    rig.put("ann", active=False)
    assert rig.restaffing.work(0) == [] and not rig.restaffing.busy, "the pass waits until the batch is written"
    commit(effects, rig.worker.stores)
    assert len(rig.look()) == 1


def test_a_departure_that_many_requests_wait_for_is_worked_off_at_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody's decisions wait behind thousands of reassignments."""
    monkeypatch.setattr("agents.restaffing.MAX_FOUND", 3)
    rig = Rig({"L1": ("ann", "bob")})
    for number in range(8):
        request = f"0f8fad5b-d9cb-469f-a165-{number:012d}"
        rig.worker.send(submit(request_id=request), request_id=request)
    rig.put("ann", active=False)
    rig.worker.shard.settled(rig.worker.offset + 1)
    assert len(rig.restaffing.work(0)) == 3
    assert rig.restaffing.work(0) == [] and not rig.restaffing.busy
    assert [len(rig.look()) for _ in range(3)] == [3, 2, 0]


def _left(rig: Rig, requests: int) -> None:
    """So many requests wait for somebody who left."""
    for number in range(requests):
        request = f"0f8fad5b-d9cb-469f-a165-{number:012d}"
        rig.worker.send(submit(request_id=request), request_id=request)
    rig.put("ann", active=False)
    rig.worker.shard.settled(rig.worker.offset + 1)


def test_the_partitions_of_a_process_share_one_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker with twelve partitions is kept busy by a single departure, and people's commands wait."""
    monkeypatch.setattr("agents.restaffing.MAX_FOUND", 3)
    pace = Pace()
    first, second = (Rig({"L1": ("ann", "bob")}, pace=pace) for _ in range(2))
    for rig in (first, second):
        _left(rig, 4)
    assert len(first.restaffing.work(0)) == 3
    assert second.restaffing.work(0) == [] and not second.restaffing.busy
    second.seconds = 3 / PACE
    assert len(second.restaffing.work(0)) == 3
    assert pace.rest_until == pytest.approx(6 / PACE)


def test_a_pass_lets_people_s_commands_go_first_but_not_for_ever() -> None:
    """Votes wait behind reassignments; or in a busy company nobody who left is ever replaced."""
    rig = Rig({"L1": ("ann", "bob")})
    _left(rig, 1)
    assert rig.restaffing.work(0, waiting=True) == []
    rig.seconds = LONGEST_YIELD_S - 0.1
    assert rig.restaffing.work(0, waiting=True) == []
    rig.seconds = LONGEST_YIELD_S
    assert len(rig.restaffing.work(0, waiting=True)) == 1


def test_a_pass_goes_on_once_nothing_waits() -> None:
    """Who left is replaced seconds late, although the worker has nothing else to do."""
    rig = Rig({"L1": ("ann", "bob")})
    _left(rig, 1)
    assert rig.restaffing.work(0, waiting=True) == []
    assert len(rig.restaffing.work(0)) == 1


def test_a_slice_ends_in_time_however_long_a_request_takes_to_read() -> None:
    """A few long histories hold the worker's loop, and with it the votes on all other requests."""
    rig = Rig({"L1": ("ann", "bob")})
    _left(rig, 10)
    ticks = iter(range(100_000))
    rig.restaffing._clock = lambda: next(ticks) * SLICE_S / 2
    assert len(rig.restaffing.work(0)) == 2
