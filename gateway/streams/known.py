"""The entity that a call means to change, as this gateway knows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from gateway.http.call import Call
from gateway.http.preconditions import IfMatch
from gateway.http.problems import not_found, unavailable
from gateway.values import ENTITY_ID
from schemas.reference import EntityBase

#: For this gateway to read reference data up to what another one may have written.
CATCH_UP_SECONDS = 2.0

Known = TypeVar("Known", bound=EntityBase)


def target(call: Call) -> str:
    """The path's entity id. Raises Problem 404 for what is no id."""
    entity_id = call.path_values["id"]
    if not ENTITY_ID.fullmatch(entity_id):
        raise not_found()
    return entity_id


async def known(call: Call, table: Mapping[str, Known], entity_id: str, at: int = 1) -> Known:
    """It, at version `at` or later if there is one: what this gateway has yet to read is read first. `table` is its catalog's.

    Raises:
        Problem: 404; 503 when Kafka does not answer.
    """
    found = table.get(entity_id)
    if found is None or found.version < at:
        await caught_up(call)
        found = table.get(entity_id)
    if found is None:
        raise not_found()
    return found


async def expected(call: Call, table: Mapping[str, Known], entity_id: str, wanted: IfMatch) -> int | None:
    """The version that `wanted` means; None for any. Raises as `known`, and Problem 412."""
    current = await known(call, table, entity_id)
    version = wanted.expected(current.version)
    if version is not None and version > current.version:
        # Another gateway may have answered that version a moment ago.
        version = wanted.expected((await known(call, table, entity_id, at=version)).version)
    return version


async def caught_up(call: Call) -> None:
    """Return once this gateway has read all reference data that there is. Raises Problem 503."""
    if not await call.services.follower.catch_up(CATCH_UP_SECONDS):
        raise unavailable("Reference data cannot be read up to now.")
