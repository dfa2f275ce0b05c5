"""Pages of what changed for a caller: where to begin, what to show, where to go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.feed import bookmarks
from gateway.feed.bookmarks import Bookmark
from gateway.http.call import Call
from gateway.http.cursors import bad_cursor
from gateway.http.problems import Problem, invalid_at
from gateway.http.queries import moment
from gateway.sql import updates
from gateway.sql.database import Database
from gateway.sql.updates import Found

#: A vector of 1,000 partitions fits; one of 48 takes under 400.
LONGEST = 8192
#: How far PostgreSQL's clock may ever be set back without a `lastSync` missing something.
SLACK = timedelta(minutes=5)
#: After a crash of PostgreSQL the read side may be behind what somebody was given: how long it is waited for, in seconds.
BEHIND = 2.0
PAUSE = 0.05
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Page:
    """`documents` are JSON; `gone` are ids with why. `mark`: where to go on."""

    documents: list[str]
    gone: list[tuple[str, str]]
    mark: Bookmark
    has_more: bool
    server_time: datetime


def scope_of(user_id: str, endpoint: str) -> str:
    """Binds a cursor."""
    return f"{user_id}\x1f{endpoint}"


def resync_required(why: str) -> Problem:
    """410: what the caller knows can no longer be brought up to date."""
    return Problem(410, "resync-required", f"{why} Forget what you have, and follow from the beginning.")


def opened(call: Call, scope: str, cursor: str) -> Bookmark:
    """The bookmark of a cursor. Raises Problem 422 for none of this scope, 410 for one that is too old."""
    payload = call.services.cursors.open(scope, cursor, LONGEST)
    try:
        mark = bookmarks.read(payload)
    except ValueError:
        raise bad_cursor() from None
    if mark.issued < call.services.now_ms() // 1000 - call.services.settings.sync_horizon_days * _DAY:
        raise resync_required("This cursor is too old.")
    return mark


async def begun(call: Call, found: dict[str, str], endpoint: str) -> Bookmark:
    """Where the caller wants to go on: after a cursor, after an earlier answer's time, or from the beginning.

    Raises:
        Problem: 422, 410.
    """
    cursor, since = found.get("cursor"), moment(found, "lastSync")
    if cursor is not None and since is not None:
        raise invalid_at("/query/lastSync", "goes without a cursor; give one of them")
    if cursor is not None:
        return opened(call, scope_of(call.caller.id, endpoint), cursor)
    if since is None:
        return Bookmark(0, {})
    try:
        earlier = since - SLACK
    except OverflowError:
        return Bookmark(0, {}, told=True)
    if since.timestamp() * 1000 > call.services.now_ms() + SLACK.total_seconds() * 1000:
        # The time of another clock than ours says nothing.
        return Bookmark(0, {}, told=True)
    return Bookmark(0, await updates.before(call.services.database, earlier), told=True)


async def not_ahead(database: Database, mark: Bookmark, ask: Callable[[], Awaitable[Found]]) -> Found:
    """What `ask` finds, once the read side has all that the bookmark names.

    Raises:
        Problem: 410 when it does not get there within two seconds: it was put back to an earlier state.
    """
    until = time.monotonic() + BEHIND
    while True:
        found = await ask()
        if not bookmarks.is_ahead(mark.vector, found.applied):
            return found
        while bookmarks.is_ahead(mark.vector, await updates.applied(database)):
            if time.monotonic() > until:
                raise resync_required("The server has been put back to an earlier state.")
            await asyncio.sleep(PAUSE)


def moved_to(mark: Bookmark, found: Found) -> dict[int, int]:
    """The vector after a page."""
    return found.applied if found.last is None else bookmarks.cut(mark.vector, found.applied, *found.last)


async def own(call: Call, mark: Bookmark, limit: int) -> Page:
    """The caller's own requests."""
    database = call.services.database
    found = await not_ahead(database, mark, lambda: updates.own(database, call.caller.id, mark.vector, limit))
    documents = [row.document for row in found.rows if row.document is not None]
    after = mark.moved(seconds_of(found), moved_to(mark, found))
    return Page(documents, [], after, found.last is not None, found.server_time)


def seconds_of(found: Found) -> int:
    """When it was found, since 1970."""
    return int(found.server_time.timestamp())
