"""From a checked body to a command in the log, and from its outcome to an answer."""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import Any

import structlog

from gateway import metrics
from gateway.http.answers import Answer, etag, json_answer
from gateway.http.call import Call
from gateway.http.describe import API
from gateway.http.preferences import preference
from gateway.http.problems import Problem, invalid_at, refusal
from gateway.identity.callers import Caller
from gateway.streams.outcomes import Outcome, Waiter
from gateway.streams.security import SOURCE
from schemas import topics
from schemas.base import rfc3339
from schemas.codes import Code
from schemas.commands import CommandBase
from schemas.envelope import derived_id, headers

log = structlog.get_logger(__name__)

_KEY = re.compile(r"[ -~]{1,128}")


def command_id_of(call: Call, caller: Caller, path: str) -> str:
    """Derived from user, method, path and Idempotency-Key; random without a key. Raises Problem 422 for a bad key."""
    key = call.text_header(b"idempotency-key")
    if key is None:
        return str(uuid.uuid4())
    if not _KEY.fullmatch(key):
        raise invalid_at("/header/Idempotency-Key", "must be 1 to 128 printable ASCII characters")
    return derived_id("command", caller.id, "POST", path, key)


async def issue(
    call: Call, caller: Caller, kind: type[CommandBase], path: str, request_id: str | None = None, **fields: Any
) -> Answer:
    """Put the command into the log, and answer its outcome. Without a `request_id` it makes a new request.

    `path` is the endpoint's with the request's id in its normal spelling, so that every spelling is the same command.

    Raises:
        Problem: the refusal, or 503 when Kafka did not take the command, or PostgreSQL the promise of its outcome.
    """
    services = call.services
    command_id = command_id_of(call, caller, path)
    created = request_id is None
    target = derived_id("request", command_id) if request_id is None else request_id
    command = kind(
        command_id=command_id,
        request_id=target,
        actor_id=caller.id,
        correlation_id=call.correlation_id,
        source_address=call.address,
        salt=services.nonce(16),
        reference_offset=services.catalog.offset,
        **fields,
    )
    record_headers = headers(
        id_=command_id,
        type_=f"athena.command.{kind.__name__}",
        source=SOURCE,
        time=rfc3339(services.now_ms()),
        subject=target,
        correlation_id=call.correlation_id,
        traceparent=call.traceparent,
    )
    services.issued.remember(command_id, caller.id)
    prefer = preference(call.text_header(b"prefer"), services.settings.command_wait)
    common = [(b"command-id", command_id.encode())]
    if prefer.applied is not None:
        common.append((b"preference-applied", prefer.applied))
    seconds = prefer.seconds
    if seconds > 0 and services.outcomes.full:
        metrics.UNWAITED.inc()
        seconds = 0.0
    waiter = services.outcomes.expect(command_id)
    try:
        value = command.__pydantic_serializer__.to_json(command)
        sent = await services.producer.send(topics.COMMANDS, target.encode(), value, record_headers)
        outcome, repeated = None, False
        if seconds > 0:
            outcome = await _outcome(waiter, sent.offset, seconds)
            repeated = outcome is not None and outcome["offset"] != sent.offset
    except Problem as problem:
        metrics.count_command(kind.__name__, "unavailable")
        problem.headers = [*problem.headers, *common]
        raise
    finally:
        services.outcomes.forget(command_id, waiter)
    if repeated:
        common.append((b"idempotent-replayed", b"true"))
    metrics.count_command(kind.__name__, "pending" if outcome is None else outcome["status"])
    if outcome is None:
        return await _promise(call, command_id, caller.id, common)
    return _answer(outcome, created, common)


async def _outcome(waiter: Waiter, offset: int, seconds: float) -> Outcome | None:
    """The outcome that answers our own record; None when the time is up.

    Another record of this command may ask for something else under its id, or fail: ours will have an outcome of its own.
    """
    try:
        async with asyncio.timeout(seconds):
            while True:
                heard = await waiter.next()
                if heard is None:
                    return None
                if heard.answers in (offset, None):
                    return heard.outcome
    except TimeoutError:
        return None


async def _promise(call: Call, command_id: str, user_id: str, common: list[tuple[bytes, bytes]]) -> Answer:
    try:
        await call.services.issued.promise(command_id, user_id)
    except Problem as problem:
        problem.headers = [*problem.headers, *common]
        raise
    location = (b"location", f"{API}/commands/{command_id}".encode())
    return json_answer(command_document(command_id, "pending"), 202, [*common, location, (b"retry-after", b"1")])


def command_document(
    command_id: str, status: str, request: dict[str, Any] | None = None, problem: dict[str, object] | None = None
) -> dict[str, Any]:
    """A command as answered."""
    return {"id": command_id, "status": status, "request": request, "problem": problem}


def _answer(outcome: Outcome, created: bool, common: list[tuple[bytes, bytes]]) -> Answer:
    if outcome["status"] == "accepted":
        request = outcome["request"]
        common.append(etag(outcome["version"]))
        if created:
            common.append((b"location", f"{API}/requests/{outcome['request_id']}".encode()))
        return json_answer(request, 201 if created else 200, common)
    code = outcome["code"] or Code.FAILED.value
    problem = refusal(code, outcome.get("detail"), outcome.get("pointer"))
    problem.headers = [*problem.headers, *common]
    raise problem
