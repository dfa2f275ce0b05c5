"""Deciding on requests."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from gateway.http.access import MANAGER
from gateway.http.answers import Answer, page_of
from gateway.http.bodies import read_body
from gateway.http.call import Call
from gateway.http.describe import API, CURSOR, LIMIT, Group
from gateway.http.queries import Page, query
from gateway.models import answers
from gateway.models.bodies import DecisionBody, RejectBody
from gateway.routes.request_commands import CHANGED, target
from gateway.routes.requests import page_position, requests_answer
from gateway.sql import history, requests
from gateway.sql.database import Row
from gateway.sql.lists import cut
from gateway.streams.commands import issue
from gateway.values import rfc3339_of
from schemas.base import rfc3339
from schemas.commands import Approve, CommandBase, Reject, Rollback

group = Group("Approvals")


async def _decide(
    call: Call, kind: type[CommandBase], verb: str, body_model: type[DecisionBody | RejectBody]
) -> Answer:
    caller = call.caller
    body = await read_body(call, body_model, optional=True)
    request_id = target(call)
    path = f"{API}/approvals/{request_id}/{verb}"
    return await issue(
        call, caller, kind, path, request_id, comment=body.comment, expected_version=body.expected_version
    )


@group.endpoint(
    "POST", "/approvals/{id}/approve", MANAGER, CHANGED, body=DecisionBody, body_required=False, command=True
)
async def approve(call: Call) -> Answer:
    """Vote for a request at its open level."""
    return await _decide(call, Approve, "approve", DecisionBody)


@group.endpoint("POST", "/approvals/{id}/reject", MANAGER, CHANGED, body=RejectBody, command=True)
async def reject(call: Call) -> Answer:
    """Reject a request, saying why."""
    return await _decide(call, Reject, "reject", RejectBody)


@group.endpoint(
    "POST", "/approvals/{id}/rollback", MANAGER, CHANGED, body=DecisionBody, body_required=False, command=True
)
async def rollback(call: Call) -> Answer:
    """Take one's own newest decision back, within its window."""
    return await _decide(call, Rollback, "rollback", DecisionBody)


@group.endpoint("GET", "/approvals/incoming", MANAGER, {200: answers.Page[answers.Request]}, query=(LIMIT, CURSOR))
async def incoming(call: Call) -> Answer:
    """Requests that wait for the caller's vote, or for that of somebody whose delegate they are, newest first."""
    caller = call.caller
    page = Page.of(call, query(call), user_id=caller.id, endpoint="approvals/incoming", length=2)
    rows = await requests.waiting_for(call.services.database, caller, page_position(page.after), page.limit)
    return requests_answer(page, cut(rows, page.limit))


@group.endpoint("GET", "/approvals/history", MANAGER, {200: answers.Page[answers.Decision]}, query=(LIMIT, CURSOR))
async def decisions(call: Call) -> Answer:
    """The caller's own approvals and rejections, newest first."""
    caller = call.caller
    page = Page.of(call, query(call), user_id=caller.id, endpoint="approvals/history", length=3)
    after = None if page.after is None else (datetime.fromisoformat(page.after[0]), page.after[1], page.after[2])
    rows = await history.decisions(call.services.database, caller.id, after, page.limit)
    shown = rows[: page.limit]
    now = rfc3339(int(time.time() * 1000))
    last = shown[-1] if shown else None
    position = None if last is None else [last["at"].isoformat(), last["request_id"], last["version"]]
    return page_of([_decision(row, now) for row in shown], page.next(rows, position))


def _decision(row: Row, now: str) -> dict[str, Any]:
    until = row["rollback_until"]
    return {
        "request_id": row["request_id"],
        "action": row["action"],
        "level": row["level"],
        "at": rfc3339_of(row["at"]),
        "rollback_until": until,
        "can_roll_back": until is not None and now < until,
    }
