"""Events of a request: past tense, facts for ever. What a decision used is pinned in them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter

from schemas.base import Level, Stored


class PinnedLevel(Stored):
    """One level of a route: `quorum` votes of `approvers`; `quorum_rule` is what the rules file said (`any`, `all`, a number)."""

    level: Level
    quorum: int
    quorum_rule: str
    approvers: tuple[str, ...]


class EventBase(Stored):
    """`at` is milliseconds since 1970 by the log's clock; `version` is the request's version after the event."""

    #: Fields that hold something personal; in the audit chain they stand as salted commitments only.
    PERSONAL: ClassVar[tuple[str, ...]] = ("comment",)
    #: Fields that came with a later release. Where they are empty the audit record leaves them out, as before there were any.
    LATER: ClassVar[tuple[str, ...]] = ()
    #: The word for it in the status history and the audit log.
    ACTION: ClassVar[str]

    version: int
    at: int
    actor_id: str
    command_id: str


class Submitted(EventBase):
    PERSONAL: ClassVar[tuple[str, ...]] = ("title", "description")
    ACTION: ClassVar[str] = "submit"
    type: Literal["Submitted"] = "Submitted"
    department_id: str
    region: str
    category_id: str
    reason_id: str
    title: str | None = None
    description: str | None = None
    amount_minor: int
    currency: str
    base_minor: int
    base_currency: str
    fx_rate: str
    supersedes: str | None
    rules_version: int
    rule_id: str
    window_ms: int
    remind_after_ms: int | None = None
    escalate_after_ms: int | None = None
    levels: tuple[PinnedLevel, ...]


class Approved(EventBase):
    """One approver's vote for the request at `level`. `on_behalf_of`: whose vote it is, when the actor is their delegate."""

    LATER: ClassVar[tuple[str, ...]] = ("on_behalf_of",)
    ACTION: ClassVar[str] = "approve"
    type: Literal["Approved"] = "Approved"
    level: Level
    comment: str | None = None
    on_behalf_of: str | None = None


class Rejected(EventBase):
    """One approver's vote against it, which ends it; `on_behalf_of` as in `Approved`."""

    LATER: ClassVar[tuple[str, ...]] = ("on_behalf_of",)
    ACTION: ClassVar[str] = "reject"
    type: Literal["Rejected"] = "Rejected"
    level: Level
    comment: str | None = None
    on_behalf_of: str | None = None


class RolledBack(EventBase):
    """The decision made at `decision_version` (at `level`) no longer stands."""

    ACTION: ClassVar[str] = "rollback"
    type: Literal["RolledBack"] = "RolledBack"
    level: Level
    decision_version: int
    comment: str | None = None


class Withdrawn(EventBase):
    ACTION: ClassVar[str] = "withdraw"
    type: Literal["Withdrawn"] = "Withdrawn"
    comment: str | None = None


class Reassigned(EventBase):
    """`level` has a new pool; `dropped` lost their votes. `unstaffed`: no sufficient new pool, so the old one stayed."""

    PERSONAL: ClassVar[tuple[str, ...]] = ()
    ACTION: ClassVar[str] = "reassign"
    type: Literal["Reassigned"] = "Reassigned"
    level: Level
    approvers: tuple[str, ...]
    quorum: int
    dropped: tuple[str, ...]
    unstaffed: bool


class Commented(EventBase):
    ACTION: ClassVar[str] = "comment"
    type: Literal["Commented"] = "Commented"
    comment: str | None = None


class WindowClosed(EventBase):
    """The newest decision can no longer be rolled back: the request is `finalized` or `closed`."""

    PERSONAL: ClassVar[tuple[str, ...]] = ()
    ACTION: ClassVar[str] = "close"
    type: Literal["WindowClosed"] = "WindowClosed"
    decision_version: int
    status: Literal["finalized", "closed"]


class Reminded(EventBase):
    """Those for whom `level` waits, open since `opened_version`, were reminded."""

    PERSONAL: ClassVar[tuple[str, ...]] = ()
    ACTION: ClassVar[str] = "remind"
    type: Literal["Reminded"] = "Reminded"
    level: Level
    opened_version: int


class Escalated(EventBase):
    """From now on `approvers`, of the next level, may decide for `level` too; empty where nobody was found."""

    PERSONAL: ClassVar[tuple[str, ...]] = ()
    ACTION: ClassVar[str] = "escalate"
    type: Literal["Escalated"] = "Escalated"
    level: Level
    opened_version: int
    approvers: tuple[str, ...]


AnyEvent = (
    Submitted
    | Approved
    | Rejected
    | RolledBack
    | Withdrawn
    | Reassigned
    | Commented
    | WindowClosed
    | Reminded
    | Escalated
)
Event = Annotated[AnyEvent, Field(discriminator="type")]
EVENT_TYPES: tuple[type[EventBase], ...] = (
    Submitted, Approved, Rejected, RolledBack, Withdrawn, Reassigned, Commented, WindowClosed, Reminded, Escalated,
)  # fmt: skip
EVENTS: TypeAdapter[AnyEvent] = TypeAdapter(Event)
EVENT_LIST: TypeAdapter[tuple[AnyEvent, ...]] = TypeAdapter(tuple[Event, ...])


def action_of(event: AnyEvent) -> str:
    """The action word: `finalize` or `close` for a closed window, else the event type's own."""
    if isinstance(event, WindowClosed):
        return "finalize" if event.status == "finalized" else "close"
    return event.ACTION


def written(event: AnyEvent) -> dict[str, Any]:
    """The event as it stands in an audit record, the personal fields still in it."""
    found = dict(vars(event))
    if isinstance(event, Submitted):
        found["levels"] = [dict(vars(level)) for level in event.levels]
    for name in event.LATER:
        if found[name] is None:
            del found[name]
    return found
