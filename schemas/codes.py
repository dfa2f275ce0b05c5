"""Every code with which a command can be refused, its HTTP status, and the sentence a person reads."""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """Refusal codes of the domain (`domain.md`, Commands)."""

    CATEGORY_INACTIVE = "category-inactive"
    REASON_NOT_VALID = "reason-not-valid"
    CURRENCY_NOT_SUPPORTED = "currency-not-supported"
    NO_APPROVER = "no-approver"
    REQUEST_EXISTS = "request-exists"
    NOT_PENDING = "not-pending"
    NOT_AN_APPROVER = "not-an-approver"
    SELF_APPROVAL = "self-approval"
    ALREADY_VOTED = "already-voted"
    NEEDED_LATER = "needed-later"
    STALE_VERSION = "stale-version"
    NOT_YOUR_DECISION = "not-your-decision"
    WINDOW_CLOSED = "window-closed"
    SUPERSEDED = "superseded"
    NOTHING_TO_ROLL_BACK = "nothing-to-roll-back"
    NOT_YOUR_REQUEST = "not-your-request"
    NOT_VISIBLE = "not-visible"
    NOT_FOUND = "not-found"
    ACTOR_NOT_ALLOWED = "actor-not-allowed"
    IDEMPOTENCY_KEY_REUSED = "idempotency-key-reused"
    TOO_MANY_EVENTS = "too-many-events"
    # Reference data
    PRECONDITION_FAILED = "precondition-failed"
    EMAIL_TAKEN = "email-taken"
    LAST_ADMIN = "last-admin"
    UNKNOWN_REFERENCE = "unknown-reference"
    RULES_INVALID = "rules-invalid"
    APPROVER_INACTIVE = "approver-inactive"
    ENTITY_EXISTS = "entity-exists"
    # A record that could not be processed; not remembered
    FAILED = "failed"


#: HTTP status where it is not 409.
STATUS: dict[Code, int] = {
    Code.NOT_FOUND: 404,
    Code.NOT_VISIBLE: 404,
    Code.ACTOR_NOT_ALLOWED: 403,
    Code.IDEMPOTENCY_KEY_REUSED: 422,
    Code.PRECONDITION_FAILED: 412,
    Code.UNKNOWN_REFERENCE: 422,
    Code.RULES_INVALID: 422,
    Code.FAILED: 500,
}

DETAIL: dict[Code, str] = {
    Code.CATEGORY_INACTIVE: "This category takes no new requests. Choose another one.",
    Code.REASON_NOT_VALID: "This reason is inactive or belongs to another category. Choose one of this category.",
    Code.CURRENCY_NOT_SUPPORTED: "The rules file has no exchange rate for this currency. Use another, or ask an administrator.",
    Code.NO_APPROVER: "The levels this request needs cannot be staffed with different people. Ask an administrator.",
    Code.REQUEST_EXISTS: "A request with this id was filed before.",
    Code.NOT_PENDING: "The request is not waiting for a decision at this point.",
    Code.NOT_AN_APPROVER: "You are not an approver of the level that is open now.",
    Code.SELF_APPROVAL: "Nobody decides on their own request.",
    Code.ALREADY_VOTED: "You have voted on this request before.",
    Code.NEEDED_LATER: "Your vote is needed at a later level, which could not be staffed without you.",
    Code.STALE_VERSION: "The request has changed since the version you saw. Look again, then decide.",
    Code.NOT_YOUR_DECISION: "Only the person who made a decision can roll it back.",
    Code.WINDOW_CLOSED: "The time in which this decision could be rolled back is over.",
    Code.SUPERSEDED: "Somebody has decided after you; theirs must be rolled back first.",
    Code.NOTHING_TO_ROLL_BACK: "There is no standing decision to roll back.",
    Code.NOT_YOUR_REQUEST: "Only the requester can do this.",
    Code.NOT_VISIBLE: "There is no such request, or it is not yours to see.",
    Code.NOT_FOUND: "There is no such thing, or it is not yours to see.",
    Code.ACTOR_NOT_ALLOWED: "Your account is inactive or no longer has the role this needs.",
    Code.IDEMPOTENCY_KEY_REUSED: "This Idempotency-Key was used before with another content. Use a new key.",
    Code.TOO_MANY_EVENTS: "This request holds all it can: 1,000 events, or 300,000 bytes of comments. File a new one.",
    Code.PRECONDITION_FAILED: "It has changed since the version you named. Fetch it again, then repeat the change.",
    Code.EMAIL_TAKEN: "Another account has this e-mail address.",
    Code.LAST_ADMIN: "This is the last active administrator, who must stay.",
    Code.UNKNOWN_REFERENCE: "It names something that does not exist.",
    Code.RULES_INVALID: "The rules file was not published, because its check found errors.",
    Code.APPROVER_INACTIVE: "Only an active manager can be assigned. Choose another person, or give this one the role.",
    Code.ENTITY_EXISTS: "The same exists already.",
    Code.FAILED: "The command could not be processed. An operator has been told; it may be replayed.",
}


def status_of(code: Code) -> int:
    """HTTP status of a refusal: 409 unless the table says otherwise."""
    return STATUS.get(code, 409)
