"""The state of one request: the fold of its events. `tables.evolve` makes the next one.

Named tuples: a changed copy, of which each event makes two, costs a third of that of a frozen dataclass.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from schemas.base import Level


class Status(StrEnum):
    PENDING_L1 = "pending_l1"
    PENDING_L2 = "pending_l2"
    PENDING_L3 = "pending_l3"
    APPROVED = "approved"
    FINALIZED = "finalized"
    REJECTED = "rejected"
    CLOSED = "closed"
    WITHDRAWN = "withdrawn"


PENDING: dict[Level, Status] = {"L1": Status.PENDING_L1, "L2": Status.PENDING_L2, "L3": Status.PENDING_L3}
#: Nothing but comments happens to a request in one of these.
FINAL = frozenset({Status.FINALIZED, Status.CLOSED, Status.WITHDRAWN})


class Vote(NamedTuple):
    """A standing decision: `version` is that of its event; `at` in ms. It is the approver's, also where a delegate gave it."""

    approver_id: str
    decision: str  # "approve" | "reject"
    at: int
    version: int
    comment: str | None
    delegate_id: str | None = None

    @property
    def given_by(self) -> str:
        """Who made the decision, and can roll it back."""
        return self.delegate_id or self.approver_id

    @property
    def people(self) -> tuple[str, ...]:
        """Everybody whose one vote on the request this is: the approver, and the delegate who gave it."""
        return (self.approver_id,) if self.delegate_id is None else (self.approver_id, self.delegate_id)


class LevelState(NamedTuple):
    """`unstaffed`: when somebody had left, no new pool sufficed, and the old one stayed. `escalated`: who may decide besides the
    pool because it has waited too long, None while it has not.
    """

    level: Level
    quorum: int
    quorum_rule: str
    approvers: tuple[str, ...]
    votes: tuple[Vote, ...] = ()
    unstaffed: bool = False
    escalated: tuple[str, ...] | None = None

    @property
    def deciders(self) -> tuple[str, ...]:
        """Everybody who may decide at this level: the pool, and then those to whom it was escalated."""
        return (*self.approvers, *self.escalated) if self.escalated else self.approvers

    @property
    def approvals(self) -> int:
        return sum(1 for vote in self.votes if vote.decision == "approve")


class RequestState(NamedTuple):
    """`open_index` is the index in `levels` of the level that is pending, None when none is. Times in ms, money in minor
    units. `changed_version` is the version of the newest event that makes an `expected_version` before it stale.
    `opened_at` and `opened_version` say when the level that is open, or was last, had opened; `reminded`: of it, since then.
    `former_approvers` had a part once: in a pool, or as a delegate who voted.
    """

    id: str
    version: int
    status: Status
    requester_id: str
    department_id: str
    region: str
    category_id: str
    reason_id: str
    title: str | None
    description: str | None
    amount_minor: int
    currency: str
    base_minor: int
    base_currency: str
    fx_rate: str
    supersedes: str | None
    rules_version: int
    rule_id: str
    window_ms: int
    levels: tuple[LevelState, ...]
    open_index: int | None
    changed_version: int
    created_at: int
    updated_at: int
    finalized_at: int | None = None
    former_approvers: frozenset[str] = frozenset()
    remind_after_ms: int | None = None
    escalate_after_ms: int | None = None
    opened_at: int = 0
    opened_version: int = 0
    reminded: bool = False

    @property
    def pending(self) -> bool:
        return self.open_index is not None

    @property
    def open_level(self) -> LevelState | None:
        return None if self.open_index is None else self.levels[self.open_index]

    @property
    def standing(self) -> tuple[tuple[Level, Vote], ...]:
        """The standing decisions, oldest first, each with its level."""
        found = [(level.level, vote) for level in self.levels for vote in level.votes]
        found.sort(key=lambda pair: pair[1].version)
        return tuple(found)

    @property
    def newest_decision(self) -> tuple[Level, Vote] | None:
        newest: tuple[Level, Vote] | None = None
        for level in self.levels:
            for vote in level.votes:
                if newest is None or vote.version > newest[1].version:
                    newest = (level.level, vote)
        return newest

    @property
    def rollback_until(self) -> int | None:
        """When the newest standing decision can no longer be rolled back; None when none can."""
        if self.status in FINAL:
            return None
        newest = self.newest_decision
        return None if newest is None else newest[1].at + self.window_ms

    @property
    def closes_at(self) -> int | None:
        """When `CloseWindow` is due: only an approved or rejected request has such a time."""
        return self.rollback_until if self.status in (Status.APPROVED, Status.REJECTED) else None

    @property
    def voters(self) -> frozenset[str]:
        """Everybody who has a standing vote, in their own name or another's, or for whom a delegate has one."""
        return frozenset(person for level in self.levels for vote in level.votes for person in vote.people)

    def has_approver(self, user_id: str) -> bool:
        """Whether this person is or was an approver of the request, or voted for one."""
        return any(user_id in level.deciders for level in self.levels) or user_id in self.former_approvers

    def has_part(self, user_id: str) -> bool:
        """Whether this person is or was on the request."""
        return user_id == self.requester_id or self.has_approver(user_id)
