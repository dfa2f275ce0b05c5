"""Sends a checked file's commands, a window at a time, and hears what became of each.

Each row is a command of its own, with the version it was checked against: what somebody else has changed meanwhile is refused by
the worker, never overwritten. There is nothing to take up again when this process ends in between: the same file, sent again,
finds the rows that were taken over as they should be, and changes the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway import metrics
from gateway.http.call import Call
from gateway.http.problems import Problem, unavailable
from gateway.reference_files.faults import Faults
from gateway.reference_files.rehearsal import Step
from gateway.streams.exchange import Sending, headers_for, outcome_of
from gateway.streams.known import caught_up
from gateway.streams.outcomes import Outcome, Waiter
from schemas import topics
from schemas.catalog import Catalog
from schemas.codes import DETAIL, Code
from schemas.reference import Body, EntityBase, entity_key

#: Commands on their way at once: others' changes wait behind so many at most.
WINDOW = 200
#: How long a window may take until all its outcomes are there, in seconds.
WINDOW_SECONDS = 20.0
#: How long this gateway may take to read what was taken over.
_SEEN_SECONDS = 10.0


@dataclass(slots=True)
class Result:
    """`same`: somebody else did the same meanwhile. `versions` by id, of what was taken over."""

    created: int = 0
    changed: int = 0
    same: int = 0
    versions: dict[str, int] = field(default_factory=dict)


async def take_over(call: Call, kind: str, steps: Sequence[Step]) -> Result:
    """Return once all is taken over and this gateway knows it.

    Raises:
        Problem: 409 when some rows were refused, since others changed the same things meanwhile; 503 when Kafka or the workers do
            not answer. The detail says how much was taken over.
    """
    result = Result()
    refused: list[tuple[Step, Outcome]] = []
    try:
        for start in range(0, len(steps), WINDOW):
            window = steps[start : start + WINDOW]
            for step, outcome in zip(window, await _exchange(call, kind, window), strict=True):
                _note(result, refused, step, outcome)
        await _seen(call, kind, result)
        faults = await _conflicts(call, kind, refused, result)
    except Problem as problem:
        problem.detail += f" Of {len(steps)} changes at least {len(result.versions)} were made. {_AGAIN}"
        raise
    if faults:
        text = f"{len(result.versions)} of {len(steps)} changes were made; the others met with changes made meanwhile. {_AGAIN}"
        raise Problem(409, "import-incomplete", text, errors=faults.errors())
    return result


_AGAIN = "Send the same file again: what is done is left alone."


def _note(result: Result, refused: list[tuple[Step, Outcome]], step: Step, outcome: Outcome) -> None:
    if outcome["status"] != "accepted":
        refused.append((step, outcome))
        return
    result.versions[step.wanted.id] = outcome["version"]
    if step.wanted.before is None:
        result.created += 1
    else:
        result.changed += 1


async def _exchange(call: Call, kind: str, window: Sequence[Step]) -> list[Outcome]:
    """The outcomes of the commands, in their order. Raises Problem 503."""
    services = call.services
    if services.outcomes.full:
        raise unavailable("As many calls wait for their outcome as may.")
    sendings = [_sending(kind, step) for step in window]
    waiters = [services.outcomes.expect(sending.command_id) for sending in sendings]
    try:
        records = [(each.key.encode(), each.value, headers_for(call, each)) for each in sendings]
        sent = await services.producer.send_all(topics.REFERENCE_COMMANDS, records)
        until = asyncio.get_running_loop().time() + WINDOW_SECONDS
        return [await _outcome(waiter, one.offset, until) for waiter, one in zip(waiters, sent, strict=True)]
    finally:
        for sending, waiter in zip(sendings, waiters, strict=True):
            services.outcomes.forget(sending.command_id, waiter)


def _sending(kind: str, step: Step) -> Sending:
    command = step.command
    key = entity_key(kind, command.entity_id)
    value = command.model_dump_json().encode()
    return Sending(command.command_id, type(command).__name__, topics.REFERENCE_COMMANDS, key, value)


async def _outcome(waiter: Waiter, offset: int, until: float) -> Outcome:
    left = until - asyncio.get_running_loop().time()
    outcome = await outcome_of(waiter, offset, max(left, 0.0))
    metrics.count_command("PutEntity", "pending" if outcome is None else outcome["status"])
    if outcome is None:
        raise unavailable("The workers do not answer in time.")
    return outcome


async def _seen(call: Call, kind: str, result: Result) -> None:
    """Who was told that it is done finds it so in the next call."""

    def met(catalog: Catalog) -> bool:
        for id_, version in result.versions.items():
            found = catalog.find(kind, id_)
            if found is None or found.version < version:
                return False
        return True

    services = call.services
    if not met(services.catalog) and not await services.follower.wait_until(met, _SEEN_SECONDS):
        await caught_up(call)  # what somebody has deleted since never comes


def is_so(body: Body, entity: EntityBase) -> bool:
    """Whether the entity is as the body wants it. An empty cell is a wish too, but for `active`: that means "as it is"."""
    wanted = body.model_dump()
    if wanted.get("active", True) is None:
        del wanted["active"]
    return all(getattr(entity, name) == value for name, value in wanted.items())


async def _conflicts(call: Call, kind: str, refused: Sequence[tuple[Step, Outcome]], result: Result) -> Faults:
    """The rows that are not as they should be although nothing was wrong with them when they were checked."""
    faults = Faults()
    if refused:
        await caught_up(call)
    for step, outcome in refused:
        now = call.services.catalog.find(kind, step.wanted.id)
        if now is not None and is_so(step.command.body, now):
            result.same += 1
            continue
        code = outcome["code"] or Code.FAILED.value
        pointer = (outcome.get("pointer") or "").removeprefix("/") or None
        faults.note(step.wanted.line, pointer, outcome.get("detail") or DETAIL[Code(code)])
    return faults
