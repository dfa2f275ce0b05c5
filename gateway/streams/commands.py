"""From a checked body to a command on a request, and from its outcome to an answer."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.http.answers import Answer, etag, json_answer
from gateway.http.call import Call
from gateway.http.describe import API
from gateway.identity.callers import Caller
from gateway.streams.exchange import Sending, command_id_of, exchange, promise, refused
from schemas import topics
from schemas.base import SCHEMA_VERSION
from schemas.commands import CommandBase
from schemas.envelope import derived_id


async def issue(
    call: Call, caller: Caller, kind: type[CommandBase], path: str, request_id: str | None = None, **fields: Any
) -> Answer:
    """Put the command into the log, and answer its outcome. Without a `request_id` it makes a new request.

    `path` is the endpoint's with the request's id in its normal spelling, so that every spelling is the same command. `fields` are
    those of a body's model, whose types are the command's.

    Raises:
        Problem: the refusal, or 503 when Kafka did not take the command, or PostgreSQL the promise of its outcome.
    """
    services = call.services
    command_id = command_id_of(call, caller, path)
    created = request_id is None
    target = derived_id("request", command_id) if request_id is None else request_id
    # Not by way of its model, which would check once more what is checked: `fields` by the body's model, and the rest is our own or
    # has passed the same pattern. A test puts every command that an endpoint makes before the model.
    command = {
        "schema_version": SCHEMA_VERSION,
        "type": kind.__name__,
        "command_id": command_id,
        "request_id": target,
        "actor_id": caller.id,
        "correlation_id": call.correlation_id,
        "source_address": call.address,
        "salt": services.nonce(16),
        "reference_offset": services.catalog.offset,
        **fields,
    }
    sending = Sending(command_id, kind.__name__, topics.COMMANDS, target, orjson.dumps(command))
    done = await exchange(call, caller, sending)
    outcome = done.outcome
    if outcome is None:
        return await promise(call, caller, done)
    if outcome["status"] != "accepted":
        raise refused(outcome, done.headers)
    answer_headers = [*done.headers, etag(outcome["version"])]
    if created:
        answer_headers.append((b"location", f"{API}/requests/{outcome['request_id']}".encode()))
    return json_answer(outcome["request"], 201 if created else 200, answer_headers)
