"""What became of a command that was answered with 202."""

from __future__ import annotations

import orjson

from gateway.http.access import SIGNED_IN
from gateway.http.answers import Answer, json_answer
from gateway.http.call import Call
from gateway.http.describe import Group
from gateway.http.problems import not_found, refusal
from gateway.identity.callers import Caller
from gateway.models import answers
from gateway.sql import commands, requests
from gateway.streams.exchange import command_document
from gateway.values import uuid_or_none

group = Group("Commands")


@group.endpoint("GET", "/commands/{id}", SIGNED_IN, {200: answers.Command})
async def one(call: Call) -> Answer:
    """A command of the caller: pending, or its outcome. `request` is the request as it is now."""
    caller = call.caller
    command_id = uuid_or_none(call.path_values["id"])
    if command_id is None:
        raise not_found()
    return await command_status(call, caller, command_id)


async def command_status(call: Call, caller: Caller, command_id: str) -> Answer:
    """What became of a command, as far as the read side knows. Raises Problem 404 for what is not the caller's, 503."""
    services = call.services
    row = await commands.by_id(services.database, command_id, caller.id)
    if row is None:
        if not await services.issued.is_by(command_id, caller.id):
            raise not_found()
        return json_answer(command_document(command_id, "pending"))
    request = None
    if row["request_id"] is not None:
        found = await requests.find(services.database, row["request_id"], caller)
        request = None if found is None else orjson.loads(found["document"])
    if row["outcome"] == "accepted":
        return json_answer(command_document(command_id, "accepted", request))
    problem = refusal(row["code"], None).document(call.correlation_id)
    return json_answer(command_document(command_id, "refused", request, problem))
