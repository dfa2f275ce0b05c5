"""A request as every reader sees it: in answers, outcomes, audit records and the read side, the same document."""

from __future__ import annotations

from typing import Any

from schemas.base import optional, rfc3339
from schemas.money import format_minor
from schemas.state import LevelState, RequestState, Vote


def _money(minor: int, currency: str) -> dict[str, str]:
    return {"amount": format_minor(minor, currency), "currency": currency}


def _vote(vote: Vote) -> dict[str, Any]:
    shown = {
        "approver_id": vote.approver_id,
        "decision": vote.decision,
        "at": rfc3339(vote.at),
        "comment": vote.comment,
    }
    # Only where there is one: what was on record before there were delegates reads the same.
    if vote.delegate_id is not None:
        shown["delegate_id"] = vote.delegate_id
    return shown


def _level(level: LevelState) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "level": level.level,
        "quorum": level.quorum,
        "approvers": list(level.approvers),
        "votes": [_vote(vote) for vote in level.votes],
    }
    if level.escalated:
        shown["escalated"] = list(level.escalated)
    return shown


def request_view(state: RequestState) -> dict[str, Any]:
    """The request in the shape of `api.md`."""
    open_level = state.open_level
    return {
        "id": state.id,
        "version": state.version,
        "status": state.status.value,
        "title": state.title,
        "description": state.description,
        "amount": _money(state.amount_minor, state.currency),
        "base_amount": _money(state.base_minor, state.base_currency),
        "category_id": state.category_id,
        "reason_id": state.reason_id,
        "department_id": state.department_id,
        "requester_id": state.requester_id,
        "supersedes": state.supersedes,
        "route": {
            "rules_version": state.rules_version,
            "rule_id": state.rule_id,
            "levels": [_level(level) for level in state.levels],
        },
        "current_level": None if open_level is None else open_level.level,
        "created_at": rfc3339(state.created_at),
        "updated_at": rfc3339(state.updated_at),
        "rollback_until": optional(state.rollback_until),
        "finalized_at": optional(state.finalized_at),
    }
