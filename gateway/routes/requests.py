"""Reading requests."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Any

from gateway.http.access import SIGNED_IN
from gateway.http.answers import Answer, etag, page_answer, page_of
from gateway.http.call import Call
from gateway.http.describe import CURSOR, LIMIT, MIN_VERSION, Group, Query
from gateway.http.problems import invalid_at, not_found, unavailable
from gateway.http.queries import Page, matching, moment, query, whole
from gateway.identity.callers import Caller
from gateway.models import answers
from gateway.sql import history, lists, requests
from gateway.sql.database import Row
from gateway.sql.lists import Filters, Listed, Position
from gateway.values import ENTITY_ID, rfc3339_of, uuid_or_none
from schemas.state import Status

group = Group("Requests")

_STATUSES = [status.value for status in Status]
#: How long a GET with min_version waits for the read side, and its pauses, in seconds.
_WAIT = 2.0
_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.05


async def visible(call: Call, caller: Caller) -> str:
    """The path's request id, when the caller may see that request. Raises Problem 404."""
    request_id = uuid_or_none(call.path_values["id"])
    if request_id is None or await requests.find(call.services.database, request_id, caller) is None:
        raise not_found()
    return request_id


async def _find_at(call: Call, caller: Caller, request_id: str | None, version: int) -> Row:
    """The request at that version or later. What is not to be seen is waited for like what is not there."""
    until = time.monotonic() + _WAIT
    pause = _FIRST_PAUSE
    while True:
        row = None if request_id is None else await requests.find(call.services.database, request_id, caller)
        if row is not None and row["version"] >= version:
            return row
        if time.monotonic() + pause > until:
            raise unavailable("The read side has not come to this version yet.")
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def page_position(after: list[Any] | None) -> Position | None:
    """A position in a list by age, as SQL takes it."""
    return None if after is None else (datetime.fromisoformat(after[0]), after[1])


def requests_answer(page: Page, listed: Listed) -> Answer:
    """A page of requests, with the cursor to the next one."""
    position = None if listed.next is None else [listed.next[0].isoformat(), listed.next[1]]
    cursor = None if position is None else page.cursors.write(page.scope, position)
    return page_answer((row["document"] for row in listed.rows), cursor)


@group.endpoint(
    "GET",
    "/requests",
    SIGNED_IN,
    {200: answers.Page[answers.Request]},
    query=(
        LIMIT,
        CURSOR,
        Query("status", {"type": "string", "enum": _STATUSES}, "Only requests with this status."),
        Query("category_id", {"type": "string", "maxLength": 64}, "Only requests of this category."),
        Query(
            "since",
            {"type": "string", "format": "date-time"},
            "Only requests that changed at or after this time. Where many did, a page may be shorter than `limit`, or empty, and "
            "the list goes on at `next_cursor` all the same.",
        ),
    ),
)
async def many(call: Call) -> Answer:
    """Requests, newest first: one's own, as a manager those one is or was on, as an admin or auditor all."""
    caller = call.caller
    found = query(call)
    status = found.get("status")
    if status is not None and status not in _STATUSES:
        raise invalid_at("/query/status", f"must be one of {', '.join(_STATUSES)}")
    category = matching(found, "category_id", ENTITY_ID, "is not a category's id")
    if category is not None and category not in call.services.catalog.categories:
        raise invalid_at("/query/category_id", "is no category")
    since = moment(found, "since")
    page = Page.of(
        call, found, user_id=caller.id, endpoint="requests", length=2, status=status, category=category, since=since
    )
    filters = Filters(status, category, since)
    listed = await lists.page(call.services.database, caller, filters, page_position(page.after), page.limit)
    return requests_answer(page, listed)


@group.endpoint("GET", "/requests/{id}", SIGNED_IN, {200: answers.Request}, query=(MIN_VERSION,))
async def one(call: Call) -> Answer:
    """One request."""
    caller = call.caller
    version = whole(query(call), "min_version", 0, 2**53 - 1)
    request_id = uuid_or_none(call.path_values["id"])
    if version is not None:
        row = await _find_at(call, caller, request_id, version)
    else:
        row = None if request_id is None else await requests.find(call.services.database, request_id, caller)
        if row is None:
            raise not_found()
    return Answer(row["document"].encode(), headers=(etag(row["version"]),))


def _status_item(row: dict[str, Any]) -> dict[str, Any]:
    """The row as answered: `on_behalf_of` only where a delegate acted."""
    if row["on_behalf_of"] is None:
        del row["on_behalf_of"]
    return {**row, "at": rfc3339_of(row["at"])}


@group.endpoint(
    "GET", "/requests/{id}/status", SIGNED_IN, {200: answers.Page[answers.StatusItem]}, query=(LIMIT, CURSOR)
)
async def status_history(call: Call) -> Answer:
    """What happened to a request, oldest first."""
    caller = call.caller
    endpoint = f"requests/{call.path_values['id'].lower()}/status"
    page = Page.of(call, query(call), user_id=caller.id, endpoint=endpoint, length=1)
    request_id = await visible(call, caller)
    after = 0 if page.after is None else page.after[0]
    rows = await history.of_request(call.services.database, request_id, after, page.limit)
    shown = rows[: page.limit]
    items = [_status_item(dict(row)) for row in shown]
    return page_of(items, page.next(rows, [shown[-1]["version"]] if shown else None))
