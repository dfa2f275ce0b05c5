"""Mistakes that somebody could make in a worker, each as one patch of the real code. `PLANTED` names them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

import agents.barrier
import agents.requests
import agents.restaffing
import rules.decide
import rules.escalation
import rules.leavers
import tables.evolve
from agents.ports import Effects, Incoming, Log, Store
from agents.reference import ReferenceShard
from agents.requests import RequestShard
from agents.restaffing import Restaffing
from agents.sweep import WindowSweep
from ops.simulation import shard_task
from ops.simulation.broker import Broker
from ops.simulation.stores import MemoryStore
from schemas import topics
from schemas.audit import GENESIS
from schemas.catalog import Catalog
from schemas.commands import Approve, CloseWindow, Reject, Rollback
from schemas.events import Approved, Commented, Reminded, RolledBack
from schemas.reference import Delegation
from schemas.state import RequestState
from tables.record import Record

Patch = pytest.MonkeyPatch


def outputs_before_state(patch: Patch) -> None:
    async def commit(effects: Effects, log: Log, stores: Mapping[str, Store]) -> None:
        if effects.outputs:
            await log.write_outputs(effects.outputs)
        for table, store in stores.items():
            if writes := effects.rows(table):
                store.apply(writes, (await log.write_tables({table: writes}))[table])

    patch.setattr(agents.barrier, "commit", commit)


def store_before_changelog(patch: Patch) -> None:
    async def commit(effects: Effects, log: Log, stores: Mapping[str, Store]) -> None:
        for table, store in stores.items():
            if writes := effects.rows(table):
                assert isinstance(store, MemoryStore)
                store.apply(writes, store.offset + len(writes))
                await log.write_tables({table: writes})
        if effects.outputs:
            await log.write_outputs(effects.outputs)

    patch.setattr(agents.barrier, "commit", commit)


def outputs_not_awaited(patch: Patch) -> None:
    """A send that failed is let pass: some outputs are never there."""
    real = shard_task.SimulatedLog.write_outputs

    async def write_outputs(self: Any, outputs: Any) -> None:
        await real(self, [one for number, one in enumerate(outputs) if number % 7 != 6])

    patch.setattr(shard_task.SimulatedLog, "write_outputs", write_outputs)


def no_deduplication(patch: Patch) -> None:
    patch.setattr(RequestShard, "_repeat", lambda *_: False)


def redelivery_without_outputs(patch: Patch) -> None:
    """A record at or below the applied offset is skipped in silence."""
    real = RequestShard._repeat

    def repeat(self: RequestShard, known: Record, *others: Any) -> bool:
        source = next(one for one in others if isinstance(one, Incoming))
        return source.offset <= known.offset or real(self, known, *others)

    patch.setattr(RequestShard, "_repeat", repeat)


def outputs_forgotten_at_once(patch: Patch) -> None:
    patch.setattr(Record, "forget_settled", lambda self, _: self.emissions.clear())


def settled_before_the_outputs(patch: Patch) -> None:
    """What a batch is about to send counts as sent: the next write drops it, and a crash in between loses it."""
    real = agents.barrier.process

    async def process(shard: Any, batch: Any, log: Log, stores: Any, caught_up: Any) -> None:
        shard.settled(batch[-1].offset + 1)
        await real(shard, batch, log, stores, caught_up)

    patch.setattr(agents.barrier, "process", process)


def payload_not_compared(patch: Patch) -> None:
    patch.setattr(agents.requests, "payload_hash", lambda _: "5a" * 16)


def refusals_not_remembered(patch: Patch) -> None:
    patch.setattr(Record, "add_refusal", lambda *_: None)


def window_one_ms_too_long(patch: Patch) -> None:
    """`<=` for `<`: a rollback exactly at the window's end is let through."""
    real = rules.decide._rollback

    def rollback(state: Any, command: Any, context: Any) -> Any:
        mine = [vote for _, vote in state.standing if vote.approver_id == command.actor_id]
        if not mine or context.at != mine[-1].at + state.window_ms:
            return real(state, command, context)
        decided = real(state, command, agents.requests.DecisionContext(context.at - 1, context.catalog, context.rules))
        event = decided.event
        return decided if event is None else decided._replace(event=event.model_copy(update={"at": context.at}))

    patch.setitem(rules.decide.DECIDERS, Rollback, rollback)


def window_closed_early(patch: Patch) -> None:
    """`CloseWindow` is believed without a look at the deadline."""
    real = rules.decide._close_window

    def close(state: Any, command: CloseWindow, context: Any) -> Any:
        due = None if state is None else state.closes_at
        at = context.at if due is None else max(context.at, due)
        decided = real(state, command, agents.requests.DecisionContext(at, context.catalog, context.rules))
        event = decided.event
        return decided if event is None else decided._replace(event=event.model_copy(update={"at": context.at}))

    patch.setattr(rules.decide, "_close_window", close)
    patch.setattr(WindowSweep, "_still_so", lambda *_: True)
    patch.setattr(WindowSweep, "due", lambda self, now, real=WindowSweep.due: real(self, now + 60_000))


def superseded_not_checked(patch: Patch) -> None:
    real = rules.decide._rollback

    def rollback(state: Any, command: Any, context: Any) -> Any:
        mine = [(level, vote) for level, vote in state.standing if vote.approver_id == command.actor_id]
        decided = real(state, command, context)
        if decided.refusal != "superseded":
            return decided
        level, vote = mine[-1]
        facts = {
            "version": state.version + 1,
            "at": context.at,
            "actor_id": command.actor_id,
            "command_id": command.command_id,
        }
        return rules.decide.Decision(RolledBack(**facts, level=level, decision_version=vote.version))

    patch.setitem(rules.decide.DECIDERS, Rollback, rollback)


def vote_kept_after_rollback(patch: Patch) -> None:
    real = tables.evolve.APPLIERS[RolledBack]
    patch.setitem(
        tables.evolve.APPLIERS, RolledBack, lambda state, event: real(state, event)._replace(levels=state.levels)
    )


def quorum_of_one(patch: Patch) -> None:
    real = tables.evolve.APPLIERS[Approved]

    def approved(state: Any, event: Any) -> Any:
        return real(state._replace(levels=tuple(level._replace(quorum=1) for level in state.levels)), event)

    patch.setitem(tables.evolve.APPLIERS, Approved, approved)


def chain_starts_again_after_recovery(patch: Patch) -> None:
    real = Record.decode

    def decode(data: bytes) -> Record:
        record = real(data)
        record.head = GENESIS
        return record

    patch.setattr(Record, "decode", staticmethod(decode))


def zombie_not_fenced(patch: Patch) -> None:
    patch.setattr(Broker, "admit", lambda *_: None)


def stale_store_trusted(patch: Patch) -> None:
    """Recovery is skipped when there is something in the local store."""
    real = MemoryStore.recover
    patch.setattr(MemoryStore, "recover", lambda self, log: None if self.offset >= 0 else real(self, log))


def offset_committed_first(patch: Patch) -> None:
    real = agents.barrier.process

    async def process(shard: Any, batch: Any, log: Any, stores: Any, caught_up: Any) -> None:
        broker, record = log._broker, batch[-1]
        broker.committed[record.topic, record.partition] = record.offset + 1
        await real(shard, batch, log, stores, caught_up)

    patch.setattr(agents.barrier, "process", process)


def no_sweep_of_what_was_open(patch: Patch) -> None:
    """The index of windows is neither written nor rebuilt."""
    patch.setattr(RequestShard, "_move_window", lambda *_: None)
    patch.setattr(WindowSweep, "rebuild", lambda *_: iter(()))


def reference_data_not_awaited(patch: Patch) -> None:
    real = RequestShard.handle

    def handle(self: RequestShard, record: Incoming, effects: Effects) -> None:
        offset, self._catalog.offset = self._catalog.offset, 10**6
        try:
            real(self, record, effects)
        finally:
            self._catalog.offset = offset

    patch.setattr(RequestShard, "handle", handle)


def reference_repeats_dropped(patch: Patch) -> None:
    real = ReferenceShard.handle

    def handle(self: ReferenceShard, record: Incoming, effects: Effects) -> None:
        for found in self._records.values():
            found.kept.clear()
        real(self, record, effects)

    patch.setattr(ReferenceShard, "handle", handle)


def window_from_wall_clock(patch: Patch) -> None:
    """A record is decided at the time at which a worker comes to it, not at the log's."""
    real = shard_task.ShardTask._shard

    def shard(self: Any, stores: Any, settled: int) -> Any:
        made = real(self, stores, settled)
        handle = made.handle
        made.handle = lambda record, effects: handle(replace(record, timestamp=self._broker.clock.now), effects)
        return made

    patch.setattr(shard_task.ShardTask, "_shard", shard)


def pool_from_current_assignments(patch: Patch) -> None:
    """Who may vote is looked up anew, and not as it was pinned."""
    real = rules.decide._vote

    def vote(state: Any, command: Any, context: Any) -> Any:
        if state.open_level is None:
            return real(state, command, context)
        wanted = state.open_level.level
        found = context.catalog.assignments_for(state.category_id)
        now = tuple(sorted({one.approver_id for one in found if one.level == wanted}))
        levels = tuple(one._replace(approvers=now) if one.level == wanted else one for one in state.levels)
        return real(state._replace(levels=levels), command, context)

    for kind in (Approve, Reject):
        patch.setitem(rules.decide.DECIDERS, kind, vote)


def deactivated_user_votes(patch: Patch) -> None:
    patch.setattr(
        Catalog, "is_active", lambda self, user_id, role: role in getattr(self.users.get(user_id), "roles", ())
    )


def dead_letter_without_ack(patch: Patch) -> None:
    """A dead letter is sent, and nobody looks whether it arrived."""
    real = shard_task.SimulatedLog.write_outputs

    async def write_outputs(self: Any, outputs: Any) -> None:
        await real(self, [one for one in outputs if one.topic != topics.DEAD_LETTERS or self._rng.random() < 0.7])

    patch.setattr(shard_task.SimulatedLog, "write_outputs", write_outputs)


def zombie_commits_an_offset(patch: Patch) -> None:
    """The commit is not tied to the group's generation."""
    real = shard_task.ShardTask.__init__

    def init(self: Any, process: Any, key: Any, broker: Any, rng: Any, owned: Any) -> None:
        real(self, process, key, broker, rng, lambda _: True)

    patch.setattr(shard_task.ShardTask, "__init__", init)


def nobody_looks_for_who_left(patch: Patch) -> None:
    patch.setattr(Restaffing, "work", lambda *_: [])


def rollback_reopens_unseen(patch: Patch) -> None:
    """Who left is looked for when reference data changes, and not when a rollback opens a level that they had passed."""
    patch.setattr(agents.requests, "levels_left", lambda *_: ())


def unstaffed_for_ever(patch: Patch) -> None:
    """A level that could not be staffed once is not tried again."""
    real = rules.leavers.levels_left

    def left(state: Any, catalog: Catalog) -> Any:
        flagged = {one.level for one in state.levels if one.unstaffed}
        return tuple(level for level in real(state, catalog) if level not in flagged)

    patch.setattr(agents.restaffing, "levels_left", left)


def delegates_vote_twice(patch: Patch) -> None:
    """Who has voted is told by whose votes they were alone."""
    patch.setattr(
        RequestState, "voters", property(lambda self: frozenset(vote.approver_id for _, vote in self.standing))
    )


def delegation_without_an_end(patch: Patch) -> None:
    patch.setattr(Delegation, "holds", lambda self, at: self.from_ms <= at)


def delegates_vote_on_their_own_requests(patch: Patch) -> None:
    """Whether somebody decides on their own money is told by whose vote it is."""
    real = rules.decide._vote

    def vote(state: Any, command: Any, context: Any) -> Any:
        return real(state._replace(requester_id="nobody"), command, context)

    for kind in (Approve, Reject):
        patch.setitem(rules.decide.DECIDERS, kind, vote)


def delegate_does_not_stay_on_record(patch: Patch) -> None:
    """The table keeps whose vote it was, and not who gave it."""
    real = tables.evolve._with_vote

    def with_vote(state: Any, event: Any, index: int, decision: str) -> Any:
        return real(state, event.model_copy(update={"actor_id": event.on_behalf_of or event.actor_id}), index, decision)

    patch.setattr(tables.evolve, "_with_vote", with_vote)


def reminder_not_remembered(patch: Patch) -> None:
    """It is due for ever, and what comes after it never is."""
    real = tables.evolve.APPLIERS[Reminded]
    patch.setitem(tables.evolve.APPLIERS, Reminded, lambda state, event: real(state, event)._replace(reminded=False))


def reminded_again_and_again(patch: Patch) -> None:
    """Each comment makes the level one that has just opened."""
    real = tables.evolve.APPLIERS[Commented]

    def commented(state: Any, event: Any) -> Any:
        return real(state, event)._replace(reminded=False, opened_version=event.version)

    patch.setitem(tables.evolve.APPLIERS, Commented, commented)


def escalated_too_early(patch: Patch) -> None:
    """The sweep's word is taken for it that the time has come."""
    patch.setattr(rules.escalation, "_is_due", lambda due, version, at: due is not None and due.version == version)
    patch.setattr(WindowSweep, "due", lambda self, now, real=WindowSweep.due: real(self, now + 10_000))


def escalated_to_the_requester(patch: Patch) -> None:
    real = rules.escalation._above
    patch.setattr(rules.escalation, "_above", lambda state, context: (*real(state, context), state.requester_id))


def only_windows_are_swept(patch: Patch) -> None:
    """The index is kept for the ends of windows alone."""
    real = RequestShard._move_window

    def move(self: RequestShard, record: Record, before: Any, effects: Effects) -> None:
        if record.due is None or record.due.kind == "close":
            real(self, record, before, effects)

    patch.setattr(RequestShard, "_move_window", move)
    patch.setattr(WindowSweep, "rebuild", lambda *_: iter(()))


PLANTED: dict[str, Callable[[Patch], None]] = {
    one.__name__: one
    for one in (
        outputs_before_state,
        store_before_changelog,
        outputs_not_awaited,
        no_deduplication,
        redelivery_without_outputs,
        outputs_forgotten_at_once,
        settled_before_the_outputs,
        payload_not_compared,
        refusals_not_remembered,
        window_one_ms_too_long,
        window_closed_early,
        superseded_not_checked,
        vote_kept_after_rollback,
        quorum_of_one,
        chain_starts_again_after_recovery,
        zombie_not_fenced,
        stale_store_trusted,
        offset_committed_first,
        no_sweep_of_what_was_open,
        reference_data_not_awaited,
        reference_repeats_dropped,
        window_from_wall_clock,
        pool_from_current_assignments,
        deactivated_user_votes,
        dead_letter_without_ack,
        zombie_commits_an_offset,
        nobody_looks_for_who_left,
        rollback_reopens_unseen,
        unstaffed_for_ever,
        delegates_vote_twice,
        delegation_without_an_end,
        delegates_vote_on_their_own_requests,
        delegate_does_not_stay_on_record,
        reminder_not_remembered,
        reminded_again_and_again,
        escalated_too_early,
        escalated_to_the_requester,
        only_windows_are_swept,
    )
}
