"""Requests to which things have happened, for tests that begin in the middle."""

from __future__ import annotations

from typing import Any

from rules.decide import Decision, decide
from schemas.commands import CommandBase
from schemas.events import AnyEvent
from schemas.reference import Delegation
from schemas.state import RequestState
from tables.evolve import evolve
from tests.unit.core.organisation import HOUR, REQUEST_ID, START, Context, approve, catalog, fixed_rules, submit, user


class Story:
    """A request to which things happen; `now` is the log's time."""

    def __init__(self, context: Context | None = None) -> None:
        self.context = context or Context(catalog())
        self.state: RequestState | None = None
        self.events: list[AnyEvent] = []

    def does(self, *commands: CommandBase) -> Story:
        """Each of these must be accepted."""
        for command in commands:
            decision = self.tries(command)
            assert decision.event is not None, f"{type(command).__name__} was refused with {decision.refusal}"
            self.events.append(decision.event)
            self.state = evolve(self.state, decision.event, REQUEST_ID)
        return self

    def tries(self, command: CommandBase) -> Decision:
        return decide(self.state, command, self.context)

    def at(self, ms: int) -> Story:
        self.context.at = START + ms
        return self

    def without(self, who: str) -> Story:
        self.context.catalog.put(user(who, "manager", active=False, version=2))
        return self


def filed(**rules: Any) -> Story:
    return Story(Context(catalog(), fixed_rules(**rules))).does(submit())


def approved() -> Story:
    return filed().does(approve("ann"), approve("cid"), approve("eve"))


def standing_in(story: Story, delegator: str, delegate: str, begins: int = 0, ends: int = 48 * HOUR) -> Story:
    """With a delegation between START + `begins` and START + `ends` ms."""
    held = story.context.catalog
    if delegate not in held.users:
        held.put(user(delegate, "manager"))
    id_ = f"{delegator}-{delegate}-{begins}"
    held.put(
        Delegation(
            id=id_, version=1, delegator_id=delegator, delegate_id=delegate, from_ms=START + begins, until_ms=START + ends
        )
    )  # fmt: skip
    return story
