"""People: reading them, and changing who they are. Every change is a command; credentials follow in PostgreSQL."""

from __future__ import annotations

import re
from typing import Any, get_args

from gateway.directory import Wanted
from gateway.http.access import ADMIN, OVERSEER, SIGNED_IN
from gateway.http.answers import Answer, etag, json_answer, page_of
from gateway.http.bodies import read_body
from gateway.http.call import Call
from gateway.http.describe import API, CURSOR, LIMIT, Group, Query
from gateway.http.preconditions import if_match, required
from gateway.http.problems import invalid_at, not_found
from gateway.http.queries import Page, matching, query
from gateway.identity.account_credentials import end_sessions_of_inactive, give_password, invite_new
from gateway.identity.callers import SEES_ALL
from gateway.identity.invitations import check_password
from gateway.models import answers
from gateway.models.bodies import NewUserBody, UserBody
from gateway.sql import people
from gateway.streams.known import known, target
from gateway.streams.reference_commands import Change, create, remove, replace, shown
from gateway.values import ENTITY_ID, rfc3339_of
from schemas import reference
from schemas.base import rfc3339
from schemas.catalog import Catalog
from schemas.reference import Role, User

group = Group("Users")

_ROLES = list(get_args(Role))
_SEARCH = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,100}")
_CHANGED: dict[int, Any] = {200: answers.User, 202: answers.Command}


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
    id_ = call.path_values["id"]
    user = catalog.users.get(id_)
    if user is not None and (user.id == caller.id or not caller.roles.isdisjoint(SEES_ALL)):
        return json_answer(user_document(user, catalog), headers=(etag(user.version),))
    # Asked about those who do not exist too: else the time would tell who does.
    if not await people.meet(call.services.database, caller, id_) or user is None:
        raise not_found()
    return json_answer({"id": user.id, "name": user.name, "department_id": user.department_id})


@group.endpoint(
    "GET",
    "/users",
    OVERSEER,
    {200: answers.Page[answers.User]},
    query=(
        LIMIT,
        CURSOR,
        Query("role", {"type": "string", "enum": _ROLES}, "Only people with this role."),
        Query("department_id", {"type": "string", "maxLength": 64}, "Only people of this department."),
        Query("q", {"type": "string", "minLength": 1, "maxLength": 100}, "Only with this in name or e-mail address."),
    ),
)
async def many(call: Call) -> Answer:
    """Accounts, deactivated ones too, newest first. With filters a page may be short although there is another one."""
    found = query(call)
    role, text = found.get("role"), matching(found, "q", _SEARCH, "must be 1 to 100 printable characters")
    if role is not None and role not in _ROLES:
        raise invalid_at("/query/role", f"must be one of {', '.join(_ROLES)}")
    department = matching(found, "department_id", ENTITY_ID, "is not a department's id")
    catalog = call.services.catalog
    if department is not None and department not in catalog.departments:
        raise invalid_at("/query/department_id", "is no department")
    page = Page.of(
        call, found, user_id=call.caller.id, endpoint="users", length=2, role=role, department=department, q=text
    )
    wanted = Wanted(role, department, None if text is None else text.casefold())  # type: ignore[arg-type]
    after = None if page.after is None else (page.after[0], page.after[1])
    users, position = call.services.directory.page(wanted, after, page.limit)
    cursor = None if position is None else page.cursors.write(page.scope, list(position))
    return page_of([user_document(user, catalog) for user in users], cursor)


@group.endpoint("POST", "/users", ADMIN, {201: answers.NewUser}, body=NewUserBody, command=True)
async def add(call: Call) -> Answer:
    """Make an account. Without a password the answer holds a token with which the person sets one. There is no 202."""
    body = await read_body(call, NewUserBody)
    services = call.services
    if body.password is not None:
        await check_password(services, body.email, body.name, body.password)

    async def made(change: Change) -> Answer:
        user = _user(change)
        document = user_document(user, services.catalog)
        if body.password is not None:
            await give_password(services, user, body.password)
        elif (invitation := await invite_new(services, user)) is not None:
            document["invitation"] = {"token": invitation.token, "expires_at": rfc3339_of(invitation.expires_at)}
        return shown(change, document, 201, ((b"location", f"{API}/users/{user.id}".encode()),))

    return await create(call, f"{API}/users", _command_body(body, active=True), made, follows=True)


@group.endpoint("PUT", "/users/{id}", ADMIN, _CHANGED, body=UserBody, command=True, if_match=True)
async def change(call: Call) -> Answer:
    """Put the whole account in the place of the version that If-Match names. What is lost counts within a second. There is no 202
    for a password or a deactivation.
    """
    body = await read_body(call, UserBody)
    wanted = required(if_match(call))
    services = call.services
    current = await known(call, services.catalog.users, target(call))
    expected = wanted.expected(current.version)
    if expected is not None and expected > current.version:
        # Another gateway may have answered that version a moment ago.
        current = await known(call, services.catalog.users, current.id, at=expected)
        expected = wanted.expected(current.version)
    if body.password is not None:
        await check_password(services, body.email, body.name, body.password)
    await end_sessions_of_inactive(services, current.id)

    async def changed(change: Change) -> Answer:
        user = _user(change)
        await end_sessions_of_inactive(services, user.id)
        if body.password is not None:
            await give_password(services, user, body.password)
        return shown(change, user_document(user, services.catalog))

    return await replace(
        call,
        f"{API}/users/{current.id}",
        current.id,
        _command_body(body, active=body.active),
        expected,
        changed,
        follows=body.password is not None or body.active is False,
    )


@group.endpoint("DELETE", "/users/{id}", ADMIN, {204: None}, command=True, if_match=False)
async def deactivate(call: Call) -> Answer:
    """Deactivate an account: its sessions end, and requests that wait for it go to others. History keeps its name. There is no
    202.
    """
    wanted = if_match(call)
    user_id = target(call)
    services = call.services
    users = services.catalog.users
    expected = None if wanted is None else wanted.expected((await known(call, users, user_id)).version)

    async def gone(change: Change) -> Answer:
        await end_sessions_of_inactive(services, user_id)
        return Answer(b"", 204, headers=change.headers)

    return await remove(call, f"{API}/users/{user_id}", "user", user_id, expected, gone, follows=True)


def _user(change: Change) -> User:
    assert isinstance(change.entity, User)
    return change.entity


def _command_body(body: NewUserBody, *, active: bool | None) -> reference.UserBody:
    return reference.UserBody(**body.model_dump(exclude={"password", "active"}), active=active)
