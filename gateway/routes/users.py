"""People."""

from __future__ import annotations

from typing import Any

from gateway.http.access import SIGNED_IN
from gateway.http.answers import Answer, etag, json_answer
from gateway.http.call import Call
from gateway.http.describe import Group
from gateway.http.problems import not_found
from gateway.identity.callers import SEES_ALL
from gateway.models import answers
from gateway.sql import people
from schemas.base import rfc3339
from schemas.catalog import Catalog
from schemas.reference import User

group = Group("Users")


def user_document(user: User, catalog: Catalog) -> dict[str, Any]:
    """A user as answered."""
    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "roles": list(user.roles),
        "department_id": user.department_id,
        "region": catalog.region_of(user),
        "phone": user.phone,
        "locale": user.locale,
        "active": user.active,
        "created_at": rfc3339(user.created_at),
        "version": user.version,
    }


@group.endpoint("GET", "/users/me", SIGNED_IN, {200: answers.User})
async def me(call: Call) -> Answer:
    """The caller's own account."""
    caller = call.caller
    return json_answer(user_document(caller.user, call.services.catalog), headers=(etag(caller.user.version),))


@group.endpoint("GET", "/users/{id}", SIGNED_IN, {200: answers.UserOrPerson})
async def one(call: Call) -> Answer:
    """An account; people who share a request see each other's name and department."""
    caller = call.caller
    catalog = call.services.catalog
    user = catalog.users.get(call.path_values["id"])
    if user is None:
        raise not_found()
    if user.id == caller.id or not caller.roles.isdisjoint(SEES_ALL):
        return json_answer(user_document(user, catalog), headers=(etag(user.version),))
    if not await people.meet(call.services.database, caller, user.id):
        raise not_found()
    return json_answer({"id": user.id, "name": user.name, "department_id": user.department_id})
