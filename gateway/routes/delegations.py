"""Delegates: who votes for whom while they are away. A delegation is made and removed, never changed."""

from __future__ import annotations

import bisect
from typing import Any

from gateway.http.access import only
from gateway.http.answers import Answer, json_answer
from gateway.http.bodies import read_body
from gateway.http.call import Call
from gateway.http.describe import API, CURSOR, LIMIT, Group
from gateway.http.preconditions import if_match
from gateway.http.problems import invalid_at, not_found
from gateway.http.queries import Page, query
from gateway.models import answers
from gateway.models.delegations import NewDelegationBody
from gateway.streams.reference_commands import Change, create, remove, shown
from gateway.values import ENTITY_ID
from schemas.base import rfc3339
from schemas.reference import Delegation, DelegationBody

group = Group("Delegations")

#: Who can have a delegate, and who sees to it for others.
_CONCERNED = only("manager", "admin")


def delegation_document(found: Delegation) -> dict[str, Any]:
    """A delegation as answered."""
    return {
        "id": found.id,
        "delegator_id": found.delegator_id,
        "delegate_id": found.delegate_id,
        "from": rfc3339(found.from_ms),
        "until": rfc3339(found.until_ms),
        "version": found.version,
    }


def _place(one: Delegation) -> tuple[int, str]:
    """Where it stands in the list: the latest beginning first."""
    return -one.from_ms, one.id


@group.endpoint("GET", "/delegations", _CONCERNED, {200: answers.Page[answers.Delegation]}, query=(LIMIT, CURSOR))
async def delegations(call: Call) -> Answer:
    """One's own delegations and those in which one is the delegate, as an admin all: those that begin last come first."""
    caller, catalog = call.caller, call.services.catalog
    page = Page.of(call, query(call), user_id=caller.id, endpoint="delegations", length=2)
    held = catalog.delegations
    seen = held.all.values() if "admin" in caller.roles else (*held.by(caller.id), *held.to(caller.id))
    found = sorted(seen, key=_place)
    start = 0 if page.after is None else bisect.bisect_right(found, (page.after[0], page.after[1]), key=_place)
    rest = found[start : start + page.limit + 1]
    items = rest[: page.limit]
    cursor = page.next(rest, list(_place(items[-1])) if items else None)
    tag = b'W/"%d"' % catalog.offset
    document = {"items": [delegation_document(one) for one in items], "next_cursor": cursor}
    return json_answer(document, headers=((b"etag", tag),))


@group.endpoint(
    "POST",
    "/delegations",
    _CONCERNED,
    {201: answers.Delegation, 202: answers.Command},
    body=NewDelegationBody,
    command=True,
)
async def add(call: Call) -> Answer:
    """Name a delegate for a time: for oneself, as an admin for anybody (`delegator_id`)."""
    body = await read_body(call, NewDelegationBody)
    delegator = body.delegator_id
    if delegator is None:
        if "manager" not in call.caller.roles:
            raise invalid_at("/delegator_id", "is needed: you are no manager who could have a delegate")
        delegator = call.caller.id
    if body.delegate_id == delegator:
        raise invalid_at("/delegate_id", "is the person who is to be stood in for")
    made = DelegationBody(delegator_id=delegator, delegate_id=body.delegate_id, from_ms=body.from_, until_ms=body.until)
    return await create(call, f"{API}/delegations", made, _made)


async def _made(change: Change) -> Answer:
    assert isinstance(change.entity, Delegation)
    location = f"{API}/delegations/{change.entity.id}".encode()
    return shown(change, delegation_document(change.entity), 201, ((b"location", location),))


@group.endpoint(
    "DELETE", "/delegations/{id}", _CONCERNED, {204: None, 202: answers.Command}, command=True, if_match=False
)
async def end(call: Call) -> Answer:
    """End a delegation of one's own, as an admin anybody's. Votes that were given stand."""
    id_ = call.path_values["id"]
    if not ENTITY_ID.fullmatch(id_):
        raise not_found()
    wanted = if_match(call)
    # It is made once and never changed: its version is 1 for as long as it is there.
    expected = None if wanted is None else wanted.expected(1)

    async def gone(change: Change) -> Answer:
        return Answer(b"", 204, headers=change.headers)

    return await remove(call, f"{API}/delegations/{id_}", "delegation", id_, expected, gone)
