"""From a checked body to a change of reference data, and from its outcome to an answer: the same for every kind of entity.

An accepted change is answered once this gateway has applied it: who creates a department can use it in the next call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from gateway.http.answers import Answer, RawHeaders, etag, json_answer
from gateway.http.call import Call
from gateway.http.problems import Problem
from gateway.streams.exchange import (
    Exchange,
    Sending,
    command_id_of,
    exchange,
    promise,
    refused,
    unfinished,
    with_headers,
)
from gateway.streams.known import CATCH_UP_SECONDS
from schemas import topics
from schemas.catalog import Catalog
from schemas.envelope import derived_id
from schemas.reference import (
    ENTITIES,
    Body,
    Entity,
    PutEntity,
    ReferenceCommand,
    Removable,
    RemoveEntity,
    entity_key,
)


@dataclass(frozen=True, slots=True)
class Change:
    """An accepted change: the entity after it, None when it is gone. `headers` belong to its answer."""

    entity: Entity | None
    headers: RawHeaders


#: Kinds of which nothing is left when they are removed.
_DELETED = frozenset({"assignment", "delegation"})

#: Makes the answer of an accepted change; what it raises is answered instead, with the change's headers.
Answering = Callable[[Change], Awaitable[Answer]]


async def create(call: Call, path: str, body: Body, answer: Answering, *, follows: bool = False) -> Answer:
    """Make an entity. Its id is derived from the command's, so that a repeat makes none; for the rest as `replace`."""
    command_id = command_id_of(call, call.caller, path)
    entity_id = derived_id(body.kind, command_id)
    command = PutEntity(**_facts(call, command_id), expected_version=0, entity_id=entity_id, body=body)
    return await _issue(call, command, body.kind, answer, follows)


async def replace(
    call: Call,
    path: str,
    entity_id: str,
    body: Body,
    expected: int | None,
    answer: Answering,
    *,
    follows: bool = False,
    command_id: str | None = None,
) -> Answer:
    """Put the body in the place of version `expected`; None: of whichever there is. `follows`: `answer` does what must not be left
    out, so there is no 202. `command_id`: one that the caller has made already.

    Raises:
        Problem: the refusal, what `answer` raises, or 503 when Kafka did not take the command, PostgreSQL did not take the
            promise, or the outcome did not come in time and something follows.
    """
    command_id = command_id or command_id_of(call, call.caller, path, "PUT")
    command = PutEntity(**_facts(call, command_id), expected_version=expected, entity_id=entity_id, body=body)
    return await _issue(call, command, body.kind, answer, follows)


async def remove(
    call: Call,
    path: str,
    kind: Removable,
    entity_id: str,
    expected: int | None,
    answer: Answering,
    *,
    follows: bool = False,
) -> Answer:
    """Deactivate a user or category, delete an assignment; in version `expected`, if one is named. For the rest as `replace`."""
    command_id = command_id_of(call, call.caller, path, "DELETE")
    command = RemoveEntity(**_facts(call, command_id), expected_version=expected, kind=kind, entity_id=entity_id)
    return await _issue(call, command, kind, answer, follows)


def shown(change: Change, document: dict[str, Any], status: int = 200, headers: RawHeaders = ()) -> Answer:
    """The answer with the entity's document and its version."""
    assert change.entity is not None
    return json_answer(document, status, [*change.headers, etag(change.entity.version), *headers])


def _facts(call: Call, command_id: str) -> dict[str, Any]:
    return {
        "command_id": command_id,
        "actor_id": call.caller.id,
        "correlation_id": call.correlation_id,
        "source_address": call.address,
        "salt": call.services.nonce(16),
    }


async def _issue(call: Call, command: ReferenceCommand, kind: str, answer: Answering, follows: bool) -> Answer:
    key = entity_key(kind, command.entity_id)
    value = command.model_dump_json().encode()
    sending = Sending(command.command_id, type(command).__name__, topics.REFERENCE_COMMANDS, key, value, follows)
    done = await exchange(call, call.caller, sending)
    outcome = done.outcome
    if outcome is not None and outcome["status"] != "accepted":
        raise refused(outcome, done.headers)
    # A version of the rules file gets its id from the worker.
    entity_id = str(outcome["version"]) if outcome is not None and kind == "rules" else command.entity_id
    if outcome is None or not await _applied(call, done, kind, entity_id, outcome["version"]):
        if follows:
            raise unfinished(done)
        return await promise(call, call.caller, done)
    if kind == "rules":  # whose text the outcome leaves out
        entity: Entity | None = call.services.catalog.find(kind, entity_id)
    else:
        entity = None if outcome["entity"] is None else ENTITIES.validate_python(outcome["entity"])
    try:
        return await answer(Change(entity, done.headers))
    except Problem as problem:
        raise with_headers(problem, done.headers) from problem


async def _applied(call: Call, done: Exchange, kind: str, entity_id: str, version: int | None) -> bool:
    """Whether this gateway has the change, or one after it, before the caller's patience ends."""

    def met(catalog: Catalog) -> bool:
        found = catalog.find(kind, entity_id)
        if version is None:
            # A repeat of a removal may find what was made anew since.
            return found is None or done.repeated
        return found is not None and found.version >= version

    services = call.services
    if met(services.catalog):
        return True
    left = max(done.until - asyncio.get_running_loop().time(), 0.0)
    if done.repeated and kind in _DELETED and await services.follower.catch_up(min(left, CATCH_UP_SECONDS)):
        # All was read: what is missing was deleted since, and the repeat is answered as the first time.
        return True
    return await services.follower.wait_until(met, max(done.until - asyncio.get_running_loop().time(), 0.0))
