"""Live events of this gateway: one reader of the read side's commits, and all clients that it gives them to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

import structlog

from gateway import metrics
from gateway.feed.bookmarks import Vector, cut, is_ahead
from gateway.feed.client import Client, Waiting
from gateway.feed.viewer import of_change
from gateway.http.problems import Problem, unavailable
from gateway.limits import rate_limited
from gateway.sql import changes, updates
from gateway.sql.changes import Change, Changes
from gateway.sql.database import Database

log = structlog.get_logger(__name__)

#: How often the applied offsets are looked at while there are clients, in seconds: 0.15 ms of PostgreSQL each time.
POLL_SECONDS = 0.05
_RETRY_SECONDS = 0.5
#: Changes taken at once.
AT_ONCE = 200
#: After how many seconds somebody with too many clients may try again.
_RETRY_AFTER = 30


class Hub:
    """`vector`: everything below it was given to the clients that were there."""

    def __init__(self, database: Database, most: int, most_per_user: int) -> None:
        self.clients: set[Client] = set()
        self.vector: Vector = {}
        self._database = database
        self._most = most
        self._most_per_user = most_per_user
        self._by_user: dict[str, set[Client]] = {}
        self._see_all: set[Client] = set()
        self._joined = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        metrics.EVENT_CLIENTS.set_function(lambda: len(self.clients))

    def start(self) -> None:
        """Begin to follow."""
        self._task = asyncio.create_task(self._follow(), name="feed")

    async def stop(self) -> None:
        self.close()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def close(self) -> None:
        """The end is near: all clients go elsewhere."""
        self._closing = True
        self.end_all("closing")

    def end_all(self, reason: str) -> None:
        for client in list(self.clients):
            client.end(reason)

    def _check_room(self, user_id: str) -> None:
        """Raises Problem 429, 503."""
        if sum(one.viewer.caller.id == user_id for one in self._by_user.get(user_id, ())) >= self._most_per_user:
            text = f"More than {self._most_per_user} clients of one user."
            raise rate_limited(text, _RETRY_AFTER, self._most_per_user)
        if self._closing or len(self.clients) >= self._most:
            raise unavailable("This gateway has as many clients of events as it can hold.", _RETRY_AFTER)

    async def ready(self, user_id: str) -> None:
        """Whether one more client may come, and that it is not given what is old. Raises Problem 429, 503."""
        self._check_room(user_id)
        if not self.clients:
            fresh = await updates.applied(self._database)
            if not self.clients:
                self.vector = fresh

    def join(self, client: Client) -> None:
        """From now on it is given what changes. `leave` must follow. Raises Problem 429, 503: others came meanwhile."""
        self._check_room(client.viewer.caller.id)
        self.clients.add(client)
        for name in client.viewer.people:
            self._by_user.setdefault(name, set()).add(client)
        if client.viewer.caller.sees_all:
            self._see_all.add(client)
        self._joined.set()

    def leave(self, client: Client) -> None:
        self.clients.discard(client)
        self._see_all.discard(client)
        for name in client.viewer.people:
            found = self._by_user.get(name, set())
            found.discard(client)
            if not found:
                self._by_user.pop(name, None)

    async def _follow(self) -> None:
        failing = False
        while True:
            try:
                if not self.clients:
                    self._joined.clear()
                    await self._joined.wait()
                await self._step()
                failing = False
                await asyncio.sleep(POLL_SECONDS)
                continue
            except Problem:
                pass  # logged where it was made
            except Exception:
                log.exception("changes cannot be read for live events")
            metrics.FEED_FAILURES.inc()
            if not failing:
                log.warning("live events stand still; trying again", seconds=_RETRY_SECONDS)
            failing = True
            await asyncio.sleep(_RETRY_SECONDS)

    async def _step(self) -> None:
        """Give out all that is applied now."""
        applied = await updates.applied(self._database)
        while applied != self.vector and self.clients:
            if is_ahead(self.vector, applied):
                log.warning("the read side was put back; clients of live events begin anew")
                self.vector = applied
                self.end_all("restored")
                return
            begun = self.vector
            found = await changes.since(self._database, begun, AT_ONCE)
            # A later look: what was applied meanwhile is in it.
            applied = found.applied
            if not is_ahead(begun, applied):
                self._give(begun, found)
                if found.last is None:
                    return

    def _give(self, begun: Vector, found: Changes) -> None:
        """To each client its events, all before anybody else runs."""
        for change in found.rows:
            if change.newest:
                metrics.EVENT_DELAY.observe(max(0.0, change.age))
            after = cut(begun, found.applied, change.partition, change.log_offset)
            given: dict[bytes, Waiting] = {}
            for client in self._concerned(change):
                if change.log_offset < client.floor.get(change.partition, 0):
                    continue
                events = b"".join(of_change(client.viewer, change))
                if events:
                    # Clients share the bytes: a change that thousands see takes no more memory than one.
                    client.offer(given.setdefault(events, Waiting(after, events)))
                    metrics.EVENTS.inc()
        self.vector = found.applied if found.last is None else cut(begun, found.applied, *found.last)

    def _concerned(self, change: Change) -> Iterable[Client]:
        found = set(self._see_all)
        for name in (change.requester_id, *change.people):
            found |= self._by_user.get(name, set())
        return found
