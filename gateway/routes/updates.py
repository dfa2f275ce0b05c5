"""What changed since a client last looked: for devices that were offline (`api.md`, Sync)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson

from gateway.feed import approvals, bookmarks, pages
from gateway.feed.bookmarks import Bookmark
from gateway.feed.pages import LONGEST, Page, scope_of
from gateway.http.access import MANAGER, SALES
from gateway.http.answers import Answer
from gateway.http.call import Call
from gateway.http.describe import LIMIT, Group, Query
from gateway.http.queries import DEFAULT_LIMIT, MAX_LIMIT, query, whole
from gateway.models import answers
from gateway.values import rfc3339_of

group = Group("Sync")

OWN = "requests/updates"
APPROVALS = "approvals/updates"
_ASKED = (
    LIMIT,
    Query("cursor", {"type": "string", "maxLength": LONGEST}, "`cursor` of the page before; without it, from the beginning."),
    Query(
        "lastSync",
        {"type": "string", "format": "date-time"},
        "Instead of a cursor: `server_time` of an earlier answer without `has_more`.",
    ),
)  # fmt: skip


@group.endpoint("GET", f"/{OWN}", SALES, {200: answers.Updates}, query=_ASKED, problems=(410,))
async def own(call: Call) -> Answer:
    """The caller's own requests that changed, whole, in the order of commits."""
    return await _page(call, OWN, pages.own)


@group.endpoint("GET", f"/{APPROVALS}", MANAGER, {200: answers.Updates}, query=_ASKED, problems=(410,))
async def decisions(call: Call) -> Answer:
    """Requests that wait for the caller or that they voted on, as they changed; and what no longer waits for them."""
    return await _page(call, APPROVALS, approvals.page)


async def _page(call: Call, endpoint: str, find: Callable[[Call, Bookmark, int], Awaitable[Page]]) -> Answer:
    found = query(call)
    limit = whole(found, "limit", 1, MAX_LIMIT) or DEFAULT_LIMIT
    page = await find(call, await pages.begun(call, found, endpoint), limit)
    cursor = call.services.cursors.seal(scope_of(call.caller.id, endpoint), bookmarks.write(page.mark))
    rest = {
        "gone": [{"id": id_, "why": why} for id_, why in page.gone],
        "cursor": cursor,
        "has_more": page.has_more,
        "server_time": rfc3339_of(page.server_time),
    }
    return Answer(b'{"items":[' + ",".join(page.documents).encode() + b"]," + orjson.dumps(rest)[1:])
