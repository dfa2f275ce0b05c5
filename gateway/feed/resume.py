"""What a client of `/events` missed since the id that it brings: from the read side, up to where live events go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from gateway.feed.approvals import known, why
from gateway.feed.bookmarks import Bookmark, Vector, cut, distance, later
from gateway.feed.client import Client, with_id
from gateway.feed.principals import hash_of
from gateway.feed.viewer import gone_event, of_change, request_event
from gateway.http.problems import Problem
from gateway.sql import changes, updates
from gateway.sql.database import Database
from gateway.turns import Turns
from schemas.catalog import Catalog

#: Records of the log that are gone through for one client; who missed more follows updates, which are found by person.
MOST = 20_000
AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Resume:
    """`ends`: where live events go on for this client. A few resume at a time, so that others find connections."""

    database: Database
    catalog: Catalog
    turns: Turns
    client: Client
    mark: Bookmark
    ends: Vector

    def check(self) -> None:
        """Raises Problem 410 when it missed too much."""
        if distance(self.mark.vector, self.ends) > MOST:
            raise Problem(
                410, "resync-required", "Too much has changed since. Follow the updates, then come without Last-Event-ID."
            )  # fmt: skip

    async def missed(self) -> AsyncIterator[bytes]:
        """Events in the order of commits, each with its id. It ends early when the read side cannot be asked."""
        try:
            async for part in self._walks():
                yield part
            vector = self.mark.vector
            while self.client.reason is None:
                async with self.turns.turn():
                    found = await self._changes(vector)
                for row in found.rows:
                    events = b"".join(of_change(self.client.viewer, row))
                    if events:
                        after = cut(vector, self.ends, row.partition, row.log_offset)
                        # The client may come from a gateway that is further than this one in some partitions.
                        yield with_id(self.client.seal(later(after, self.mark.vector)), events)
                if found.last is None:
                    return
                vector = cut(vector, self.ends, *found.last)
        except Problem:
            self.client.end("unknown")

    async def _changes(self, vector: Vector) -> changes.Changes:
        viewer = self.client.viewer
        return await changes.seen_by(
            self.database,
            vector,
            self.ends,
            AT_ONCE,
            sees_all=viewer.caller.sees_all,
            user_id=viewer.caller.id,
            manages=viewer.manages,
            principals=viewer.people,
        )

    async def _walks(self) -> AsyncIterator[bytes]:
        """What waits for those for whom the caller decides only now, and what no longer does; without ids: whole or again."""
        now = tuple(hash_of(one) for one in self.client.viewer.people[1:])
        before = self.mark.others if self.mark.walk is None else (*self.mark.others, self.mark.walk.hashed)
        for hashed in (one for one in now if one not in self.mark.others):
            who = next(one for one in self.client.viewer.people if hash_of(one) == hashed)
            async for part in self._walk(who, joins=True):
                yield part
        for hashed in (one for one in before if one not in now):
            async for part in self._walk(known(self.catalog, hashed), joins=False):
                yield part

    async def _walk(self, who: str, *, joins: bool) -> AsyncIterator[bytes]:
        at = (0, 0)
        viewer = self.client.viewer
        people: Sequence[str] = viewer.people
        while self.client.reason is None:
            async with self.turns.turn():
                found = await updates.of_one(
                    self.database, viewer.caller.id, people, self.mark.vector, AT_ONCE, who, at, joins=joins
                )
            for row in found.rows:
                if row.document is not None:
                    yield request_event(row.document)
                else:
                    yield gone_event(row.id, why(row.left_by))
            if found.last is None:
                return
            at = (found.last[0], found.last[1] + 1)
