"""Live events: what happens is there at once for those whom it concerns, for nobody else, and nothing is lost between clients."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from gateway.feed.bookmarks import Bookmark, write
from gateway.feed.pages import scope_of
from gateway.http.cursors import Cursors
from ops.secrets.secret import Secret
from tests import gateways, raw, shapes
from tests.client import API, ROUTE_L1_L2, Api, bearer
from tests.device import Device
from tests.events import Event, Events
from tests.organisation import person
from tests.stack import Stack, wait_until


def of(events: list[Event]) -> list[tuple[str, int]]:
    """Which versions of what; between requests there is no order."""
    return sorted((e.data["id"], e.data["version"]) for e in events)


def refused(api: Api, who: str, **headers: str) -> httpx.Response:
    """The answer to a client that is not let in."""
    return api.call(who, "GET", "/events", headers=headers)


def test_everybody_sees_what_is_theirs_and_nobody_else(api: Api) -> None:
    """A portal would have to be reloaded, or show somebody else's requests."""
    with (
        Events(api, "sam.sales") as sam,
        Events(api, "sue.sales") as sue,
        Events(api, "l1.emea") as one,
        Events(api, "l1b.emea") as other,
        Events(api, "l1.apac") as apac,
        Events(api, "l2") as boss,
        Events(api, "auditor") as auditor,
    ):
        request = api.submit("sam.sales", **ROUTE_L1_L2)
        for client in (sam, one, other, boss, auditor):
            client.wait(lambda _, c=client: c.versions(request) == [1])
        began = time.monotonic()
        approved = api.approved("l1.emea", request)
        for client in (sam, one, other, boss, auditor):
            client.wait(lambda _, c=client: c.versions(request) == [1, 2])
        assert time.monotonic() - began < 5
        assert (
            next(e.data for e in boss.events if e.data.get("version") == 2 and e.data["id"] == request["id"])
            == approved
        )
        other.wait(lambda _: other.gone(request) == ["decided"])
        back = api.decide("l1.emea", "rollback", request).json()
        other.wait(lambda _: other.versions(request)[-1] == back["version"])
        boss.wait(lambda _: boss.gone(request) == ["rolled-back"])
        api.post("sam.sales", f"/requests/{request['id']}/withdraw", {})
        other.wait(lambda _: other.gone(request) == ["decided", "withdrawn"])
        one.wait(lambda _: one.versions(request)[-1] == 4)
        assert one.gone(request) == [], "what they voted on stays with them"
        assert sam.gone(request) == auditor.gone(request) == []
        for stranger in (sue, apac):
            assert not stranger.versions(request) and not stranger.gone(request)
        for client in (sam, one, boss):
            for event in client.events:
                if event.kind == "request":
                    shapes.request(event.data)
        assert sam.retry is not None and 1000 <= sam.retry <= 5000


def test_whoever_comes_again_goes_on_where_they_were(api: Api) -> None:
    """What happened in a tunnel would be lost, or come twice."""
    with Events(api, "sue.sales") as first:
        begun = api.submit("sue.sales")
        first.wait(lambda _: first.versions(begun) == [1])
        last = first.last_id
    missed = [api.submit("sue.sales") for _ in range(5)]
    voted = api.approved("l1.emea", begun)
    for request in (*missed, voted):
        api.read("sue.sales", request)
    with Events(api, "sue.sales", last) as second:
        second.wait(lambda _: all(second.versions(one) == [1] for one in missed) and second.versions(begun) == [2])
        live = api.submit("sue.sales")
        second.wait(lambda _: second.versions(live) == [1])
        ids = [e.last_id for e in second.events]
        # From any place within.
        for number, id_ in enumerate(ids[:-1]):
            with Events(api, "sue.sales", id_) as again:
                again.wait(lambda events, n=number: len(events) >= len(ids) - n - 1)
                assert of(again.events) == of(second.events[number + 1 :])
    with Events(api, "sue.sales", second.last_id) as third:
        fresh = api.submit("sue.sales")
        third.wait(lambda _: third.versions(fresh) == [1])
        assert len(third.events) == 1


def test_updates_first_and_then_events_leave_no_hole(api: Api) -> None:
    """A device would have to ask for everything again when it comes to the front."""
    device = Device(api, "sue.sales", "/requests/updates", limit=200)
    device.sync()
    request = api.submit("sue.sales")
    api.read("sue.sales", request)
    assert device.cursor is not None
    with Events(api, "sue.sales", device.cursor) as events:
        events.wait(lambda _: events.versions(request) == [1])
        assert [e.data["id"] for e in events.events] == [request["id"]]


def test_ids_are_their_owners(api: Api) -> None:
    """A stranger's id would say what happened to others, and a made-up one break something."""
    with Events(api, "sam.sales") as sam:
        pass
    for who, id_ in (("sue.sales", sam.last_id), ("sam.sales", sam.last_id[:-2] + "zz"), ("sam.sales", "7")):
        shapes.refused(refused(api, who, **{"Last-Event-ID": id_}), 422, "invalid")
    answer = api.http.get(f"{API}/events")
    shapes.refused(answer, 401, "unauthenticated")


def test_an_id_that_is_too_old_or_not_here_asks_to_follow_the_updates(stack: Stack, api: Api) -> None:
    """A gateway would go through the whole log for one client, or a client wait for what is not there."""
    key = Secret("cursor_key", stack.home.secret("cursor-key").read_text(encoding="utf-8"))
    now = int(time.time())
    for mark in (Bookmark(now, {0: 10**9}), Bookmark(now - 91 * 86400, {0: 0})):
        id_ = Cursors(key).seal(scope_of("sam.sales", "events"), write(mark))
        shapes.refused(refused(api, "sam.sales", **{"Last-Event-ID": id_}), 410, "resync-required")


def test_a_session_that_ends_takes_its_events_with_it(stack: Stack, api: Api) -> None:
    """Somebody who was signed out, or lost a role, would go on watching."""
    person(stack, api, "vic.sync", ("sales", "manager"), "emea-sales")
    grant = api.login("vic.sync").json()
    with Events(api, "vic.sync", token=grant["access_token"]) as events:
        began = time.monotonic()
        assert api.http.post(f"{API}/auth/logout", headers=bearer(grant)).status_code == 204
        assert events.ended.wait(5) and time.monotonic() - began < 2
    token = str(api.login("vic.sync").json()["access_token"])
    with Events(api, "vic.sync", token=token) as events:
        began = time.monotonic()
        person(stack, api, "vic.sync", ("sales",), "emea-sales")
        assert events.ended.wait(5) and time.monotonic() - began < 5
    with Events(api, "vic.sync", token=token) as events:
        person(stack, api, "vic.sync", ("sales",), "emea-sales", active=False)
        assert events.ended.wait(5)


@pytest.fixture(scope="module")
def small(stack: Stack) -> Any:
    """A gateway that holds few clients."""
    with gateways.started(stack, ATHENA_EVENT_CLIENTS="4", ATHENA_EVENT_CLIENTS_PER_USER="2") as gateway:
        yield gateway


def test_clients_are_bounded_and_leave_no_trace(small: gateways.Gateway) -> None:
    """One user's tabs would take the places of all others."""
    api = Api(small.base)
    with Events(api, "sam.sales"), Events(api, "sam.sales"):
        shapes.refused(refused(api, "sam.sales"), 429, "rate-limited")
        with Events(api, "sue.sales"), Events(api, "l2"):
            assert small.figure("athena_gateway_event_clients") == 4
            answer = refused(api, "l3")
            shapes.refused(answer, 503, "unavailable")
            assert int(answer.headers["Retry-After"]) >= 1
    wait_until(lambda: small.figure("athena_gateway_event_clients") == 0, 10, "clients that left are still counted")
    with Events(api, "sam.sales") as events:
        request = api.submit("sam.sales")
        events.wait(lambda _: events.versions(request) == [1])


def test_a_client_that_sent_another_request_behind_is_gone_when_it_goes(small: gateways.Gateway) -> None:
    """It would be counted for a minute, and its user's other devices be refused."""
    api = Api(small.base)
    token = {"Authorization": f"Bearer {api.token('sam.sales')}"}
    lines = [raw.Line(small.port) for _ in range(2)]
    for line in lines:
        line.send(raw.head("GET", f"{API}/events", **token) + raw.head("GET", "/livez"))
    wait_until(lambda: small.figure("athena_gateway_event_clients") == 2, 10, "they are not there")
    time.sleep(0.5)
    for line in lines:
        line.socket.close()
    wait_until(lambda: small.figure("athena_gateway_event_clients") == 0, 5, "clients that left are still counted")
    assert "Traceback" not in small.log.read_text()


def test_a_gateway_that_ends_sends_its_clients_elsewhere(stack: Stack) -> None:
    """A restart would wait for clients that never go, or cut them off in the middle of an event."""
    with gateways.started(stack) as gateway:
        api = Api(gateway.base)
        with Events(api, "sam.sales") as events:
            began = time.monotonic()
            gateway.process.terminate()
            assert events.ended.wait(5)
            assert events.failed is None, "the answer was not ended in order"
            assert gateway.process.wait(20) == 0
            assert time.monotonic() - began < 6
