"""Live events: Server-Sent Events (HTML standard, 9.2) of what the caller may see."""

from __future__ import annotations

import asyncio
import time

from starlette.types import Receive, Send

from gateway.feed import bookmarks
from gateway.feed.bookmarks import Bookmark, Vector
from gateway.feed.client import Client
from gateway.feed.pages import BEHIND, PAUSE, opened, resync_required, scope_of
from gateway.feed.principals import hash_of
from gateway.feed.resume import Resume
from gateway.feed.viewer import Viewer
from gateway.http.access import SIGNED_IN
from gateway.http.answers import Stream
from gateway.http.call import Call
from gateway.http.describe import Group, Query
from gateway.http.problems import Problem, invalid_at
from gateway.routes.updates import APPROVALS, OWN
from gateway.sql import updates

group = Group("Sync")

EVENTS = "events"
_MEDIA_TYPE = b"text/event-stream"
#: Proxies would gather events up (nginx reads this one).
_UNBUFFERED = ((b"x-accel-buffering", b"no"),)
_LAST = Query(
    "Last-Event-ID", {"type": "string", "maxLength": 8192}, "Go on after this `id`, or after a cursor of updates."
)


@group.endpoint("GET", f"/{EVENTS}", SIGNED_IN, {200: None}, headers=(_LAST,), problems=(410, 422), events=True)
async def events(call: Call) -> Stream:
    """What the caller may see, as it changes: `request` with the request, `gone` with what they no longer have to do."""
    services = call.services
    hub = services.live.hub
    mark = _mark(call)
    await hub.ready(call.caller.id)
    if mark is not None:
        await _reached(call, mark)
    viewer = Viewer.of(call.caller, services.catalog, services.now_ms())
    others = tuple(hash_of(one) for one in viewer.people[1:])
    scope = scope_of(call.caller.id, EVENTS)

    def seal(vector: Vector) -> str:
        now = services.now_ms() // 1000
        return services.cursors.seal(scope, bookmarks.write(Bookmark(now, vector, others=others)))

    begun = hub.vector
    floor = begun if mark is None else bookmarks.later(begun, mark.vector)
    client = Client(viewer, floor, seal)
    resume = None
    if mark is not None:
        resume = Resume(services.database, services.catalog, services.live.resuming, client, mark, begun)
        resume.check()
    hub.join(client)

    async def run(send: Send, receive: Receive) -> None:
        await client.run(send, receive, None if resume is None else resume.missed(), lambda: hub.vector)

    return Stream(b"", media_type=_MEDIA_TYPE, headers=_UNBUFFERED, run=run, close=lambda: hub.leave(client))


def _mark(call: Call) -> Bookmark | None:
    """What the caller brings: an id of these events, or a cursor of updates. Raises Problem 422, 410."""
    given = call.text_header(b"last-event-id")
    if not given:
        return None
    for endpoint in (EVENTS, OWN, APPROVALS):
        try:
            return opened(call, scope_of(call.caller.id, endpoint), given)
        except Problem as problem:
            if problem.status != 422:
                raise
    raise invalid_at(
        "/header/Last-Event-ID", "is no id of your events, and no cursor of your updates; come without one"
    )


async def _reached(call: Call, mark: Bookmark) -> None:
    """The read side must have what the id names; after a crash of PostgreSQL it may be a moment behind. Raises Problem 410."""
    until = time.monotonic() + BEHIND
    while bookmarks.is_ahead(mark.vector, await updates.applied(call.services.database)):
        if time.monotonic() > until:
            raise resync_required("The server has been put back to an earlier state.")
        await asyncio.sleep(PAUSE)
