"""Departments, categories, reasons and assignments are made, changed and taken away. Every change is a command.

A PUT names the version that it is about with the `ETag` of the answer that showed it, which is `"<version>"`: lists, too, show
each item's `version`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from gateway.http.access import ADMIN
from gateway.http.answers import Answer
from gateway.http.bodies import read_body
from gateway.http.call import Call
from gateway.http.describe import API, Group
from gateway.http.preconditions import if_match, required
from gateway.http.problems import invalid_at
from gateway.models import answers
from gateway.models.bodies import AssignmentBody, CategoryBody, DepartmentBody, ReasonBody
from gateway.routes.catalog import entity_document
from gateway.streams.known import expected, target
from gateway.streams.reference_commands import Change, create, remove, replace, shown
from schemas import reference
from schemas.reference import Body, Removable

group = Group("Reference data")

#: Path of each kind's collection, and what it is called in the catalog.
PLURALS = {"department": "departments", "category": "categories", "reason": "reasons", "assignment": "assignments"}


def _made(model: type[BaseModel]) -> dict[int, Any]:
    return {201: model, 202: answers.Command}


def _changed(model: type[BaseModel]) -> dict[int, Any]:
    return {200: model, 202: answers.Command}


@group.endpoint("POST", "/departments", ADMIN, _made(answers.Department), body=DepartmentBody, command=True)
async def add_department(call: Call) -> Answer:
    """Make a department."""
    return await _create(call, await _department(call))


@group.endpoint(
    "PUT", "/departments/{id}", ADMIN, _changed(answers.Department), body=DepartmentBody, command=True, if_match=True
)
async def change_department(call: Call) -> Answer:
    """Put a department in the place of the version that If-Match names. Requests keep the region that they were filed with."""
    return await _replace(call, await _department(call))


@group.endpoint("POST", "/categories", ADMIN, _made(answers.Category), body=CategoryBody, command=True)
async def add_category(call: Call) -> Answer:
    """Make a category."""
    return await _create(call, await _category(call))


@group.endpoint(
    "PUT", "/categories/{id}", ADMIN, _changed(answers.Category), body=CategoryBody, command=True, if_match=True
)
async def change_category(call: Call) -> Answer:
    """Put a category in the place of the version that If-Match names."""
    return await _replace(call, await _category(call))


@group.endpoint("DELETE", "/categories/{id}", ADMIN, {204: None, 202: answers.Command}, command=True, if_match=False)
async def close_category(call: Call) -> Answer:
    """Deactivate a category: it takes no new requests; those under way go on."""
    return await _remove(call, "category")


@group.endpoint("POST", "/reasons", ADMIN, _made(answers.Reason), body=ReasonBody, command=True)
async def add_reason(call: Call) -> Answer:
    """Make a reason."""
    return await _create(call, await _reason(call))


@group.endpoint("PUT", "/reasons/{id}", ADMIN, _changed(answers.Reason), body=ReasonBody, command=True, if_match=True)
async def change_reason(call: Call) -> Answer:
    """Put a reason in the place of the version that If-Match names. Without `active` it stays what it is."""
    return await _replace(call, await _reason(call))


@group.endpoint("POST", "/assignments", ADMIN, _made(answers.Assignment), body=AssignmentBody, command=True)
async def add_assignment(call: Call) -> Answer:
    """Put an approver on a category at a level. Requests that were filed before keep their approvers."""
    body = await read_body(call, AssignmentBody)
    if body.department_id is not None and body.region is not None:
        raise invalid_at("/region", BOTH)
    return await _create(call, reference.AssignmentBody(**body.model_dump()))


#: What is wrong with an assignment to both.
BOTH = "cannot be given together with department_id; make two assignments, one for each"


@group.endpoint("DELETE", "/assignments/{id}", ADMIN, {204: None, 202: answers.Command}, command=True, if_match=False)
async def remove_assignment(call: Call) -> Answer:
    """Take an assignment away. Requests that were filed before keep their approvers."""
    return await _remove(call, "assignment")


async def _department(call: Call) -> Body:
    return reference.DepartmentBody(**(await read_body(call, DepartmentBody)).model_dump())


async def _category(call: Call) -> Body:
    return reference.CategoryBody(**(await read_body(call, CategoryBody)).model_dump())


async def _reason(call: Call) -> Body:
    return reference.ReasonBody(**(await read_body(call, ReasonBody)).model_dump())


async def _create(call: Call, body: Body) -> Answer:
    async def made(change: Change) -> Answer:
        return _shown(change, 201)

    return await create(call, f"{API}/{PLURALS[body.kind]}", body, made)


async def _replace(call: Call, body: Body) -> Answer:
    wanted = required(if_match(call))
    id_, plural = target(call), PLURALS[body.kind]
    version = await expected(call, getattr(call.services.catalog, plural), id_, wanted)

    async def changed(change: Change) -> Answer:
        return _shown(change, 200)

    return await replace(call, f"{API}/{plural}/{id_}", id_, body, version, changed)


async def _remove(call: Call, kind: Removable) -> Answer:
    wanted = if_match(call)
    id_, plural = target(call), PLURALS[kind]
    table = getattr(call.services.catalog, plural)
    version = None if wanted is None else await expected(call, table, id_, wanted)

    async def gone(change: Change) -> Answer:
        return Answer(b"", 204, headers=change.headers)

    return await remove(call, f"{API}/{plural}/{id_}", kind, id_, version, gone)


def _shown(change: Change, status: int) -> Answer:
    assert change.entity is not None
    return shown(change, entity_document(change.entity), status)
