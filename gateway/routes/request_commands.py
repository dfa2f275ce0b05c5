"""Commands of requesters and administrators on requests."""

from __future__ import annotations

from pydantic import BaseModel

from gateway.http.access import ADMIN, SALES, SIGNED_IN
from gateway.http.answers import Answer
from gateway.http.bodies import read_body
from gateway.http.call import Call
from gateway.http.describe import API, Group
from gateway.http.problems import invalid_at, not_found
from gateway.models import answers
from gateway.models.bodies import CommentBody, DecisionBody, ReassignBody, SubmitBody
from gateway.sql import requests
from gateway.streams.admission import admit
from gateway.streams.commands import issue
from gateway.values import uuid_or_none
from schemas.commands import Comment, Reassign, SubmitRequest, Withdraw
from schemas.money import MoneyError, parse_minor

group = Group("Requests")

CHANGED: dict[int, type[BaseModel]] = {200: answers.Request, 202: answers.Command}


@group.endpoint("POST", "/requests", SALES, {201: answers.Request, 202: answers.Command}, body=SubmitBody, command=True)
async def submit(call: Call) -> Answer:
    """File a budget request."""
    caller = call.caller
    body = await read_body(call, SubmitBody)
    try:
        parse_minor(body.amount, body.currency)
    except MoneyError as error:
        raise invalid_at("/amount", str(error)) from None
    catalog = call.services.catalog
    if body.category_id not in catalog.categories:
        raise invalid_at("/category_id", "is no category")
    if body.reason_id not in catalog.reasons:
        raise invalid_at("/reason_id", "is no reason")
    await admit(call, caller, f"{API}/requests")
    old = body.supersedes
    if old is not None and not await requests.own_of(call.services.database, [old], caller.id):
        raise invalid_at("/supersedes", "is none of your requests")
    return await issue(
        call,
        caller,
        SubmitRequest,
        f"{API}/requests",
        category_id=body.category_id,
        reason_id=body.reason_id,
        title=body.title,
        description=body.description,
        amount=body.amount,
        currency=body.currency,
        supersedes=body.supersedes,
    )


def target(call: Call) -> str:
    """The path's request id. Raises Problem 404 for what is no request's id."""
    request_id = uuid_or_none(call.path_values["id"])
    if request_id is None:
        raise not_found()
    return request_id


@group.endpoint(
    "POST", "/requests/{id}/withdraw", SIGNED_IN, CHANGED, body=DecisionBody, body_required=False, command=True
)
async def withdraw(call: Call) -> Answer:
    """Take one's own pending request back."""
    caller = call.caller
    body = await read_body(call, DecisionBody, optional=True)
    request_id = target(call)
    path = f"{API}/requests/{request_id}/withdraw"
    return await issue(
        call, caller, Withdraw, path, request_id, comment=body.comment, expected_version=body.expected_version
    )


@group.endpoint("POST", "/requests/{id}/comments", SIGNED_IN, CHANGED, body=CommentBody, command=True)
async def comment(call: Call) -> Answer:
    """Say something about a request; it stands in the status history."""
    caller = call.caller
    body = await read_body(call, CommentBody)
    request_id = target(call)
    return await issue(call, caller, Comment, f"{API}/requests/{request_id}/comments", request_id, text=body.text)


@group.endpoint("POST", "/requests/{id}/reassign", ADMIN, CHANGED, body=ReassignBody, command=True)
async def reassign(call: Call) -> Answer:
    """Resolve the approvers of an open or later level anew from today's assignments."""
    caller = call.caller
    body = await read_body(call, ReassignBody)
    request_id = target(call)
    path = f"{API}/requests/{request_id}/reassign"
    return await issue(
        call, caller, Reassign, path, request_id, level=body.level, expected_version=body.expected_version
    )
