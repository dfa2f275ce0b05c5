"""The short form of `python -m tests.feed.soundness`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from gateway.feed import hub as hubs
from gateway.feed.client import Waiting
from gateway.feed.hub import Hub
from gateway.feed.viewer import Viewer
from gateway.identity.callers import Caller
from gateway.sql.database import Database
from tests.feed import soundness
from tests.integration.projector_rig import Rig, servers


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with servers() as found:
        yield found


def test_nobody_misses_or_doubles_anything_whoever_commits_late(rig: Rig) -> None:
    """A phone would never hear of a decision that committed while it was reading."""
    ground = soundness.prepared(1, 3000, 8)
    readers = soundness.crowd(14, 1)
    careless = soundness.Reader(soundness.OWNER, "unsound", 1)
    counts = asyncio.run(soundness.run(rig, ground, [*readers, careless], 1))
    assert ground.updates >= 3000 and counts["rolled back"] > 0
    for reader in readers:
        assert reader.wrong(ground.expected[reader.who]) == (0, 0, 0), (reader.kind, reader.who)
    assert careless.wrong(ground.expected[soundness.OWNER])[0] > 0, "the mistake that this is for was not found"


class Listening:
    """A client of live events that keeps what it is given."""

    def __init__(self, user_id: str, role: str) -> None:
        user: Any = SimpleNamespace(id=user_id, roles=(role,), active=True)
        self.viewer = Viewer(Caller(user, frozenset({role}), "session"), (user_id,))
        self.floor: dict[int, int] = {}
        self.reason: str | None = None
        self.has: dict[str, int] = {}
        self.times: Counter[tuple[str, int]] = Counter()

    def offer(self, waiting: Waiting) -> None:
        for line in waiting.events.splitlines():
            if line.startswith(b"data: {") and b'"version"' in line:
                data = orjson.loads(line[6:])
                assert data["version"] > self.has.get(data["id"], 0)
                self.has[data["id"]] = data["version"]
                self.times[data["id"], data["version"]] += 1

    def end(self, reason: str) -> None:
        self.reason = reason


def test_live_events_miss_and_double_nothing_however_far_behind(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A portal would show an old state until it is reloaded, whenever much happens at once."""
    rig.wipe()
    monkeypatch.setattr(hubs, "AT_ONCE", 3)
    ground = soundness.prepared(2, 2000, 8)
    clients = [
        Listening(soundness.OWNER, "sales"),
        Listening("aud", "auditor"),
        Listening("l1.a", "manager"),
        Listening("x", "sales"),
    ]

    async def live() -> None:
        database = Database(rig.home.database_url("gateway"))
        await database.start()
        hub = Hub(database, 10, 10)
        await hub.ready("x")
        for client in clients:
            hub.join(client)  # type: ignore[arg-type]
        hub.start()
        await soundness.run(rig, ground, [], 2)
        async with asyncio.timeout(60):
            while clients[1].has != ground.expected[soundness.OWNER]:  # noqa: ASYNC110 - the hub sets no event
                await asyncio.sleep(0.05)
        # Of four clients none was ended meanwhile.
        assert [client.reason for client in clients] == [None] * 4
        await hub.stop()
        await database.stop()

    asyncio.run(live())
    owner, auditor, manager, stranger = clients
    assert owner.has == auditor.has == ground.expected[soundness.OWNER]
    assert ground.expected["l1.a"].items() <= manager.has.items()
    assert not stranger.has
