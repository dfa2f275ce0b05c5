"""What somebody no longer has to do is told to them, however much happens meanwhile and wherever they were cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from agents.projector.batch import Batch
from agents.projector.store import Store
from gateway.feed import resume as resumes
from gateway.feed.bookmarks import Bookmark, Vector
from gateway.feed.client import Client, Waiting
from gateway.feed.hub import Hub
from gateway.feed.resume import Resume
from gateway.feed.viewer import Viewer
from gateway.identity.callers import Caller
from gateway.sql.database import Database
from gateway.turns import Turns
from schemas.catalog import Catalog
from tests.feed.soundness import Record
from tests.integration.projector_rig import Rig, servers
from tests.unit.projector.stories import Story, value_of

ME, PARTITION = "l1.b", 3
#: More than a page of the resuming and of the live events.
MANY = 250


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with servers() as found:
        yield found


class Log:
    """One partition: stories in, the read side after."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._taken: dict[str, int] = {}
        self.end = 0

    async def add(self, *stories: Story) -> dict[int, int]:
        """Apply what is new of these, in their order; the vector after."""
        rows: list[Record] = []
        for story in stories:
            for record in story.records[self._taken.get(story.id, 0) :]:
                rows.append(Record(self.end + len(rows), value_of(record)))
            self._taken[story.id] = len(story.records)
        batch = Batch()
        batch.extend(PARTITION, self.end, rows, self.end + len(rows))
        assert (await self._store.write(batch)).held
        self.end += len(rows)
        return {PARTITION: self.end}


def viewer() -> Viewer:
    user: Any = SimpleNamespace(id=ME, roles=("manager",), active=True)
    return Viewer(Caller(user, frozenset(user.roles), "session", frozenset(user.roles), 2e9), (ME,))


def joined(hub: Hub, floor: Vector) -> Client:
    client = Client(viewer(), floor, lambda vector: orjson.dumps({str(n): at for n, at in vector.items()}).decode())
    hub.join(client)
    return client


async def resumed(database: Database, client: Client, begun: Vector, ends: Vector) -> list[tuple[Vector, bytes]]:
    """What a client that comes with `begun` is told, and how far it is after each."""
    turns = Turns(1, 1, 10.0, "resuming")
    found: list[tuple[Vector, bytes]] = []
    async for part in Resume(database, Catalog(), turns, client, Bookmark(0, begun), ends).missed():
        id_ = next(line[4:] for line in part.splitlines() if line.startswith(b"id: "))
        found.append(({int(n): at for n, at in orjson.loads(id_).items()}, part))
    return found


def goes(part: bytes, story: Story) -> int:
    """How often it is told that the request is gone."""
    return part.count(f'event: gone\ndata: {{"id":"{story.id}"'.encode())


def on(rig: Rig, life: Callable[[Log, Database, Hub], Awaitable[None]]) -> None:
    rig.wipe()

    async def live() -> None:
        store = Store(rig.home.database_url("projector"))
        await store.offsets([PARTITION])
        database = Database(rig.home.database_url("gateway"))
        await database.start()
        try:
            await life(Log(store), database, Hub(database, 10, 10))
        finally:
            await database.stop()
            await store.close()

    asyncio.run(live())


def others(first: int) -> list[Story]:
    return [Story(first + number).submit() for number in range(MANY)]


def test_a_request_that_moved_on_is_told_gone_to_who_comes_again(rig: Rig) -> None:
    """A colleague decided while the phone was in a tunnel, somebody wrote a comment: it would wait in the list for ever."""

    async def life(log: Log, database: Database, hub: Hub) -> None:
        story = Story(1).submit()
        begun = await log.add(story)
        await log.add(story.approve("l1.a"))
        ends = await log.add(*others(1000), story.comment())
        told = await resumed(database, joined(hub, ends), begun, ends)
        assert len(told) > 2 * resumes.AT_ONCE
        assert sum(goes(part, story) for _, part in told) == 1
        # And wherever it is cut off then.
        for number in range(0, len(told), 20):
            rest = await resumed(database, joined(Hub(database, 10, 10), ends), told[number][0], ends)
            before = sum(goes(part, story) for _, part in told[: number + 1])
            assert before + sum(goes(part, story) for _, part in rest) == 1, number

    on(rig, life)


def test_an_event_between_joining_and_reading_hides_nothing(rig: Rig) -> None:
    """The resuming would leave it to the live events, and these to the resuming."""

    async def life(log: Log, database: Database, hub: Hub) -> None:
        story = Story(1).submit()
        begun = await log.add(story)
        hub.vector = ends = await log.add(story.approve("l1.a"))
        client = joined(hub, ends)
        await log.add(story.comment())
        told = await resumed(database, client, begun, ends)
        await hub._step()
        live = b"".join(one.events for one in client._queue)
        assert sum(goes(part, story) for _, part in told) + goes(live, story) == 1
        assert live.count(b"event: request\n") == 1

    on(rig, life)


def test_live_events_tell_it_after_a_long_wait_too(rig: Rig) -> None:
    """After a slow minute of the projector, those who were connected all the time would not hear of it."""

    async def life(log: Log, database: Database, hub: Hub) -> None:
        story = Story(1).submit()
        hub.vector = begun = await log.add(story)
        client = joined(hub, begun)
        await log.add(story.approve("l1.a"))
        ends = await log.add(*others(1000), story.comment())
        await hub._step()
        told: list[Waiting] = list(client._queue)
        assert hub.vector == ends
        assert sum(goes(one.events, story) for one in told) == 1
        assert len(told) == MANY + 2, "each of the others, gone, and the request as it is now"
        for number in range(0, len(told), 50):
            rest = await resumed(database, joined(Hub(database, 10, 10), ends), told[number].vector, ends)
            before = sum(goes(one.events, story) for one in told[: number + 1])
            assert before + sum(goes(part, story) for _, part in rest) >= 1, number

    on(rig, life)


def test_ids_never_go_back_behind_what_another_gateway_gave(rig: Rig) -> None:
    """Who comes again from a gateway that is further would be given the same things twice."""

    async def life(log: Log, database: Database, hub: Hub) -> None:
        await log.add(Story(1).submit())
        ends = await log.add(*others(1000))
        begun = {PARTITION: 1, PARTITION - 1: 40}
        told = await resumed(database, joined(hub, ends), begun, ends)
        assert told and all(vector[PARTITION - 1] == 40 for vector, _ in told)

    on(rig, life)


def test_nothing_more_is_read_for_a_client_that_has_gone(rig: Rig) -> None:
    """Clients on a bad line would keep the few places of those that resume."""

    async def life(log: Log, database: Database, hub: Hub) -> None:
        begun = await log.add(Story(1).submit())
        ends = await log.add(*others(1000))
        client = joined(hub, ends)
        missed = Resume(database, Catalog(), Turns(1, 1, 10.0, "resuming"), client, Bookmark(0, begun), ends).missed()
        assert await anext(missed)
        client.end("left")
        assert len([part async for part in missed]) < resumes.AT_ONCE

    on(rig, life)
