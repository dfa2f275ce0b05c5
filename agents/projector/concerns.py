"""Whom an event of a request concerns: who had to act before it, who has to now, who has voted. Clients follow by that.

What comes out does not hang on how the events fall into batches: a rebuild gives the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_DECISIONS = frozenset({"approve", "reject"})


@dataclass(frozen=True, slots=True)
class Event:
    """`before`: who had to act before it, None where that is in the database; `waiting`: who has to after it; `voters`: who has
    voted by then, as far as a decision names them."""

    version: int
    log_offset: int
    action: str
    before: frozenset[str] | None
    waiting: frozenset[str]
    voters: frozenset[str]

    def columns(self) -> tuple[Any, ...]:
        """As the statement takes it."""
        before = None if self.before is None else _listed(self.before)
        return (self.version, self.log_offset, self.action, before, _listed(self.waiting), _listed(self.voters))


def _listed(people: frozenset[str]) -> str:
    return ",".join(sorted(people))


def event_of(record: dict[str, Any], document: dict[str, Any], offset: int, before: frozenset[str] | None) -> Event:
    """The event of an audit record, with the request after it."""
    action = record["action"]
    voters: frozenset[str] = frozenset()
    if action in _DECISIONS:
        voters = frozenset({record["actor_id"]}).union(
            vote["approver_id"]
            for level in document["route"]["levels"]
            if level["level"] == record["level"]
            for vote in level["votes"]
        )
    return Event(record["version"], offset, action, before, frozenset(waiting_on(document)), voters)


def concern_of(events: list[Event], approver: str, named_at: int) -> tuple[int, bool, str | None]:
    """Offset, `decided` and `left_by` of somebody who was not on the request before these events, and was named at an offset."""
    offset, left_by, waits, decided = named_at, None, False, False
    for event in events:
        decided = decided or approver in event.voters
        now = approver in event.waiting
        if waits and not now:
            offset, left_by = event.log_offset, event.action
        waits = now
    if waits or decided:
        offset = events[-1].log_offset
    return offset, decided, None if waits else left_by


def waiting_on(document: dict[str, Any]) -> set[str]:
    """Whose vote is open now: all who may decide at the open level, less those who have voted on it."""
    current = document["current_level"]
    if current is None:
        return set()
    for level in document["route"]["levels"]:
        if level["level"] == current:
            return set(deciders(level)) - {vote["approver_id"] for vote in level["votes"]}
    return set()


def deciders(level: dict[str, Any]) -> list[str]:
    """The pool of a level, and those to whom it was escalated."""
    found: list[str] = [*level["approvers"], *level.get("escalated", ())]
    return found
