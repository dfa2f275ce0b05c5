"""Mistakes that somebody could make in a projector or a gateway, each as one patch. `PLANTED` names them all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import gateway.streams.commands
import ops.simulation.database
import ops.simulation.mirror
from agents.projector.ports import Unavailable, Verdict
from agents.projector.projector import Projector
from agents.projector.reading import Reading
from gateway.streams.issued import Issued
from gateway.streams.outcomes import Outcomes, Waiter
from ops.simulation.database import MemoryDatabase
from ops.simulation.tables import Tables, groups
from schemas.envelope import derived_id

Patch = pytest.MonkeyPatch


def projector_commits_offsets_apart(patch: Patch) -> None:
    """Offsets first, rows in a transaction of their own."""
    real = MemoryDatabase.transaction

    def transaction(self: Any, columns: Any, fate: str) -> Any:
        offsets = next(groups(columns))
        if fate == "rolled back" and self.tables.held(offsets):
            self.tables.offsets.update({partition: following for partition, _, following in offsets})
            raise Unavailable("between the two")
        return real(self, columns, fate)

    patch.setattr(MemoryDatabase, "transaction", transaction)


def projector_skips_a_gap(patch: Patch) -> None:
    """A record is lost on the way, and nobody compares with what was applied."""
    real = Reading.take

    def take(self: Reading, epoch: int, found: Any, positions: Any) -> Any:
        return real(self, epoch, {one: rows[1:] if len(rows) > 4 else rows for one, rows in found.items()}, positions)

    patch.setattr(Reading, "take", take)
    for module in (ops.simulation.database, ops.simulation.mirror):
        patch.setattr(module, "judge", lambda row: Verdict(held=row["held"]))
    patch.setattr(Tables, "_gap", lambda *_: False)
    patch.setattr(Tables, "apply", _without_version_gap(Tables.apply))


def _without_version_gap(real: Callable[..., Any]) -> Callable[..., Any]:
    def apply(self: Tables, columns: list[Any]) -> Any:
        parts = list(groups(columns))
        needs = [0] * len(parts[3])
        changed = list(columns)
        changed[sum((3, 27, 3)) + 1] = needs
        return real(self, changed)

    return apply


def older_version_written_over_newer(patch: Patch) -> None:
    patch.setattr(Tables, "newer", staticmethod(lambda *_: True))


def offsets_not_compared(patch: Patch) -> None:
    """Whoever writes last is right: an answer that was lost, or a zombie, sets the offsets back."""
    patch.setattr(Tables, "held", lambda *_: True)


def rebuild_not_noticed(patch: Patch) -> None:
    async def look_for_rebuild(self: Projector) -> None:
        return

    patch.setattr(Projector, "look_for_rebuild", look_for_rebuild)
    real = Projector.__init__

    def init(self: Any, store: Any, **ports: Any) -> None:
        real(self, store, **{**ports, "resync": lambda: None})

    patch.setattr(Projector, "__init__", init)


def votes_that_were_rolled_back_stay(patch: Patch) -> None:
    patch.setattr("agents.projector.batch._KEEPS_VOTES", frozenset({"submit", "approve", "reject", "rollback"}))


def looks_before_it_registers(patch: Patch) -> None:
    """The waiter is known only a moment after the command was sent."""

    def expect(self: Any, command_id: str) -> Waiter:
        waiter = Waiter()
        register = self._waiting.setdefault(command_id.encode(), []).append
        asyncio.get_running_loop().call_later(0.2, register, waiter)
        return waiter

    patch.setattr(Outcomes, "expect", expect)


def promise_forgotten(patch: Patch) -> None:
    async def promise(self: Any, command_id: str, user_id: str) -> None:
        return

    patch.setattr(Issued, "promise", promise)


def another_records_outcome_answered(patch: Patch) -> None:
    """Whatever becomes of a command answers all who wait for it: also who asked for something else under its id (once a real
    mistake)."""
    real = Waiter.next

    async def following(self: Waiter) -> Any:
        heard = await real(self)
        return None if heard is None else replace(heard, answers=None)

    patch.setattr(Waiter, "next", following)


def only_the_first_outcome_is_heard(patch: Patch) -> None:
    """Two outcomes come with one poll, and the waiter takes the first (once a real mistake)."""
    real = Waiter.hear

    def hear(self: Waiter, outcome: Any) -> None:
        if not self._heard:
            real(self, outcome)

    patch.setattr(Waiter, "hear", hear)


def every_retry_is_a_new_command(patch: Patch) -> None:
    """The idempotency key does not count."""

    def command_id_of(call: Any, caller: Any, path: str) -> str:
        return derived_id("command", call.correlation_id)

    patch.setattr(gateway.streams.commands, "command_id_of", command_id_of)


def replay_not_called_one(patch: Patch) -> None:
    real = Waiter.next

    async def following(self: Waiter) -> Any:
        heard = await real(self)
        return None if heard is None else replace(heard, outcome=_Same(heard.outcome))

    patch.setattr(Waiter, "next", following)


class _Same(dict[str, Any]):
    """An outcome whose offset is whatever it is compared with."""

    def __getitem__(self, name: str) -> Any:
        return _Any() if name == "offset" else super().__getitem__(name)


class _Any:
    def __eq__(self, _: object) -> bool:
        return True

    def __ne__(self, _: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


PLANTED: dict[str, Callable[[Patch], None]] = {
    one.__name__: one
    for one in (
        projector_commits_offsets_apart,
        projector_skips_a_gap,
        older_version_written_over_newer,
        offsets_not_compared,
        rebuild_not_noticed,
        votes_that_were_rolled_back_stay,
        looks_before_it_registers,
        promise_forgotten,
        another_records_outcome_answered,
        only_the_first_outcome_is_heard,
        every_retry_is_a_new_command,
        replay_not_called_one,
    )
}
