"""One client of `/events`: who does not read is cut off, ids never go back, and everybody gets what is theirs alone."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.feed import client as clients
from gateway.feed.client import Client, Waiting, with_id
from gateway.feed.guard import Guard
from gateway.feed.viewer import Viewer, of_change
from gateway.identity.callers import Caller
from gateway.sql.changes import Change, Concern
from schemas.catalog import Catalog

LONG = "a" * 100_000


def caller(user_id: str, *roles: str, expires: float = 2e9) -> Caller:
    user: Any = SimpleNamespace(id=user_id, roles=roles, active=True)
    return Caller(user, frozenset(roles), f"session of {user_id}", frozenset(roles), expires)


def viewer(user_id: str, *roles: str, people: tuple[str, ...] = ()) -> Viewer:
    return Viewer(caller(user_id, *roles), (user_id, *people))


def waiting(at: int, text: str = "x") -> Waiting:
    return Waiting({0: at}, f"event: request\ndata: {text}\n\n".encode())


def client_of(viewer_: Viewer, floor: int = 0) -> Client:
    return Client(viewer_, {0: floor}, lambda vector: f"id{vector[0]}")


class Line:
    """What a client's connection takes in; while `open` is not set it takes nothing."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.open = asyncio.Event()
        self.gone = asyncio.Event()

    async def send(self, message: Any) -> None:
        await self.open.wait()
        self.sent.append(message)

    async def receive(self) -> dict[str, str]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    @property
    def text(self) -> str:
        return b"".join(message["body"] for message in self.sent).decode()


async def until(holds: Any) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - whatever is looked at sets no event
            await asyncio.sleep(0.01)


def test_events_come_in_order_with_ids_that_never_go_back() -> None:
    """Whoever comes again would get things twice, or miss some."""

    async def live() -> None:
        line, client = Line(), client_of(viewer("sam", "sales"), floor=7)
        line.open.set()
        running = asyncio.create_task(client.run(line.send, line.receive, None, lambda: {0: 3}))
        await until(lambda: "id: id7\n\n" in line.text)
        client.offer(waiting(5, "one"))
        client.offer(waiting(9, "two"))
        await until(lambda: "two" in line.text)
        assert line.text.index("id: id7\nevent: request\ndata: one") < line.text.index(
            "id: id9\nevent: request\ndata: two"
        )
        client.end("roles")
        await running
        assert line.sent[-1] == {"type": "http.response.body", "body": b""}
        client.offer(waiting(10))
        assert client.reason == "roles"

    asyncio.run(live())


def test_a_heartbeat_names_how_far_everybody_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle client would come again after an hour with an id from before it, and be sent away."""
    monkeypatch.setattr(clients, "HEARTBEAT", (0.02, 0.03))

    async def live() -> None:
        line, client, at = Line(), client_of(viewer("sam", "sales")), {0: 1}
        line.open.set()
        running = asyncio.create_task(client.run(line.send, line.receive, None, lambda: at))
        await until(lambda: "id: id1\n" in line.text)
        at[0] = 50
        await until(lambda: ":\nid: id50\n\n" in line.text)
        line.gone.set()
        await running
        assert client.reason == "left"

    asyncio.run(live())


@pytest.mark.parametrize(("count", "text"), [(clients.MAX_EVENTS + 2, "x"), (8, LONG)])
def test_who_does_not_read_is_ended_and_holds_nothing(count: int, text: str) -> None:
    """One phone in a tunnel would fill the gateway's memory."""

    async def live() -> None:
        line, client = Line(), client_of(viewer("sam", "sales"))
        running = asyncio.create_task(client.run(line.send, line.receive, None, lambda: {0: 0}))
        await asyncio.sleep(0.01)
        for number in range(count):
            client.offer(waiting(number, text))
        assert client.reason == "slow"
        assert not client._queue
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(live())


def test_the_id_comes_with_the_last_event_of_a_change() -> None:
    """A client that is cut off between the two would never hear the second."""
    both = b'event: request\ndata: {"a":"event: b"}\n\nevent: gone\ndata: {}\n\n'
    assert with_id("7", both) == b'event: request\ndata: {"a":"event: b"}\n\nid: 7\nevent: gone\ndata: {}\n\n'


def change(requester: str = "sam", newest: bool = True, **people: Concern) -> Change:
    return Change(0, 20, "r1", requester, '{"id":"r1"}', newest, 0.0, people)


def kinds(viewer_: Viewer, change_: Change) -> list[str]:
    found = b"".join(of_change(viewer_, change_)).decode()
    return [line.removeprefix("event: ") for line in found.splitlines() if line.startswith("event: ")]


WAITS = Concern(True, False, None, 20)
LEFT = Concern(False, False, "approve", 20)
LEFT_BEFORE = Concern(False, False, "approve", 10)
VOTED = Concern(False, True, "approve", 20)
NAMED = Concern(False, False, None, 2)


@pytest.mark.parametrize(
    ("who", "what", "wanted"),
    [
        (viewer("sam", "sales"), change(), ["request"]),
        (viewer("sue", "sales"), change(), []),
        (viewer("aud", "auditor"), change(), ["request"]),
        (viewer("bob", "manager"), change(bob=WAITS), ["request"]),
        (viewer("bob", "manager"), change(bob=NAMED), ["request"]),
        (viewer("bob", "manager"), change(bob=LEFT), ["request", "gone"]),
        (viewer("bob", "manager"), change(bob=LEFT_BEFORE), ["request"]),
        (viewer("bob", "manager"), change(newest=False, bob=LEFT), ["gone"]),
        (viewer("bob", "manager"), change(newest=False, bob=LEFT_BEFORE, ann=LEFT), []),
        (viewer("sam", "sales"), change(newest=False, ann=LEFT), []),
        (viewer("bob", "manager"), change(bob=VOTED), ["request"]),
        (viewer("bob", "sales"), change(bob=WAITS), []),
        (viewer("bob", "manager"), change(ann=WAITS), []),
        (viewer("bob", "manager", people=("ann",)), change(ann=WAITS), ["request"]),
        (viewer("bob", "manager", people=("ann",)), change(ann=LEFT), ["gone"]),
        (viewer("bob", "manager", people=("ann",)), change(ann=NAMED), []),
        (viewer("bob", "manager", people=("ann",)), change(ann=LEFT, bob=WAITS), ["request"]),
    ],
)
def test_everybody_gets_what_is_theirs(who: Viewer, what: Change, wanted: list[str]) -> None:
    """Somebody would see what is not theirs, or be left with what nobody waits for."""
    assert kinds(who, what) == wanted


def test_whoever_may_not_have_them_any_more_is_ended() -> None:
    """A stolen token, or a lost role, would go on watching."""
    now: dict[str, Any] = {}
    revoked: set[str] = set()

    async def is_revoked(session: str) -> bool:
        return session in revoked

    async def current(user_id: str) -> Any:
        return now.get(user_id)

    async def live() -> None:
        people = {
            "good": caller("good", "sales"),
            "late": caller("late", "sales", expires=time.time() - 1),
            "out": caller("out", "sales"),
            "less": caller("less", "sales", "manager"),
            "idle": caller("idle", "sales"),
            "missing": caller("missing", "sales"),
            "more": caller("more", "manager"),
        }
        for name, one in people.items():
            now[name] = SimpleNamespace(id=name, roles=one.user.roles, active=True)
        now["less"].roles, now["idle"].active = ("sales",), False
        del now["missing"]
        revoked.add("session of out")
        found = {
            name: client_of(Viewer(one, (name, "ann") if name == "more" else (name,))) for name, one in people.items()
        }
        hub: Any = SimpleNamespace(clients=set(found.values()))
        services: Any = SimpleNamespace(is_revoked=is_revoked), SimpleNamespace(current=current)
        await Guard(hub, *services, Catalog(), lambda: 0).look()
        assert {name: client.reason for name, client in found.items()} == {
            "good": None, "late": "expired", "out": "signed-out", "less": "roles", "idle": "deactivated",
            "missing": "deactivated", "more": "delegation",
        }  # fmt: skip

    asyncio.run(live())
