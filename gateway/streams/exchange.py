"""One command for one outcome: into the log under the caller's key, and back, or a promise of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from gateway import chance, metrics
from gateway.http.answers import Answer, json_answer
from gateway.http.call import Call
from gateway.http.describe import API
from gateway.http.preferences import Preference, preference
from gateway.http.problems import Problem, invalid_at, refusal, unavailable
from gateway.identity.callers import Caller
from gateway.streams.outcomes import Outcome, Waiter
from gateway.streams.security import SOURCE
from schemas.base import rfc3339
from schemas.codes import Code
from schemas.envelope import Headers, derived_id, headers

_KEY = re.compile(r"[ -~]{1,128}")
#: How long a call waits that has something left to do, where calls wait for nothing.
_FOLLOW_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Sending:
    """A command ready to be sent. `kind` is its type's name, `key` that of the record.

    `follows`: once it is accepted, the same call has something to do in PostgreSQL. So it waits for the outcome whatever the caller
    prefers, and is never answered 202.
    """

    command_id: str
    kind: str
    topic: str
    key: str
    value: bytes
    follows: bool = False


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was heard: `outcome` is None when it did not come in time. `headers` belong to every answer about the command; `until`
    is when the caller's patience ends, in the loop's seconds."""

    command_id: str
    outcome: Outcome | None
    repeated: bool
    headers: list[tuple[bytes, bytes]]
    until: float


def command_id_of(call: Call, caller: Caller, path: str, method: str = "POST") -> str:
    """Derived from user, method, path and Idempotency-Key; random without a key. Raises Problem 422 for a bad key."""
    key = call.text_header(b"idempotency-key")
    if key is None:
        return chance.uuid4()
    if not _KEY.fullmatch(key):
        raise invalid_at("/header/Idempotency-Key", "must be 1 to 128 printable ASCII characters")
    return derived_id("command", caller.id, method, path, key)


async def exchange(call: Call, caller: Caller, sending: Sending) -> Exchange:
    """Send the command, and wait for its outcome as long as the caller prefers.

    Raises:
        Problem: 503 when Kafka did not take the command, or nobody can wait for an outcome that must be heard; 413 for one too
            large.
    """
    services = call.services
    if sending.follows and services.outcomes.full:
        metrics.count_command(sending.kind, "unavailable")
        raise unavailable("As many calls wait for their outcome as may. Nothing was changed.")
    command_id = sending.command_id
    record_headers = headers_for(call, sending)
    services.issued.remember(command_id, caller.id)
    prefer = preference(call.text_header(b"prefer"), services.settings.command_wait)
    if sending.follows and prefer.seconds == 0:
        prefer = Preference(services.settings.command_wait or _FOLLOW_SECONDS, None)
    common = [(b"command-id", command_id.encode())]
    if prefer.applied is not None:
        common.append((b"preference-applied", prefer.applied))
    seconds = prefer.seconds
    if seconds > 0 and services.outcomes.full:
        metrics.UNWAITED.inc()
        seconds = 0.0
    waiter = services.outcomes.expect(command_id)
    try:
        sent = await services.producer.send(sending.topic, sending.key.encode(), sending.value, record_headers)
        outcome, repeated = None, False
        until = waiter.loop.time() + seconds
        if seconds > 0:
            outcome = await outcome_of(waiter, sent.offset, seconds)
            repeated = outcome is not None and outcome["offset"] != sent.offset
    except Problem as problem:
        metrics.count_command(sending.kind, "unavailable")
        raise with_headers(problem, common) from problem
    finally:
        services.outcomes.forget(command_id, waiter)
    if repeated:
        common.append((b"idempotent-replayed", b"true"))
    metrics.count_command(sending.kind, "pending" if outcome is None else outcome["status"])
    return Exchange(command_id, outcome, repeated, common, until)


def headers_for(call: Call, sending: Sending) -> Headers:
    """Headers of the command's record."""
    return headers(
        id_=sending.command_id,
        type_=f"athena.command.{sending.kind}",
        source=SOURCE,
        time=rfc3339(call.services.now_ms()),
        subject=sending.key,
        correlation_id=call.correlation_id,
        traceparent=call.traceparent,
    )


async def outcome_of(waiter: Waiter, offset: int, seconds: float) -> Outcome | None:
    """The outcome that answers our own record; None when the time is up.

    Another record of this command may ask for something else under its id, or fail: ours will have an outcome of its own.
    """
    # As `asyncio.timeout`, at a fifth of its cost: when the time is up the waiter hears that there is nothing to wait for.
    timer = waiter.loop.call_later(seconds, waiter.hear, None)
    try:
        while True:
            heard = await waiter.next()
            if heard is None:
                return None
            if heard.answers in (offset, None):
                return heard.outcome
    finally:
        timer.cancel()


async def promise(call: Call, caller: Caller, done: Exchange) -> Answer:
    """202: the outcome will come. Raises Problem 503 when PostgreSQL did not take the promise."""
    try:
        await call.services.issued.promise(done.command_id, caller.id)
    except Problem as problem:
        raise with_headers(problem, done.headers) from problem
    location = (b"location", f"{API}/commands/{done.command_id}".encode())
    return json_answer(
        command_document(done.command_id, "pending"), 202, [*done.headers, location, (b"retry-after", b"1")]
    )


def unfinished(done: Exchange) -> Problem:
    """503: the command may be accepted later, but what has to follow in this call does not."""
    text = (
        "The change was taken, but its outcome is not known yet, and what belongs to it (a password, a link, the end of sessions) "
        "has not followed. Repeat it with the same Idempotency-Key until it is answered; without one, look whether it took "
        "effect before you send it again."
    )
    return with_headers(unavailable(text), done.headers)


def command_document(
    command_id: str, status: str, request: dict[str, Any] | None = None, problem: dict[str, object] | None = None
) -> dict[str, Any]:
    """A command as answered."""
    return {"id": command_id, "status": status, "request": request, "problem": problem}


def refused(outcome: Outcome, common: list[tuple[bytes, bytes]]) -> Problem:
    """What an outcome that is not `accepted` is answered with."""
    code = outcome["code"] or Code.FAILED.value
    problem = refusal(code, outcome.get("detail"), outcome.get("pointer"))
    problem.findings = list(outcome.get("findings") or ())
    return with_headers(problem, common)


def with_headers(problem: Problem, common: list[tuple[bytes, bytes]]) -> Problem:
    """The problem, answered with these headers too."""
    problem.headers = [*problem.headers, *common]
    return problem
