"""One's own sessions: seen, ended, and then refused at every gateway within a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.sql.sessions import end_sessions
from tests import shapes
from tests.as_gateway import as_gateway
from tests.client import Api, bearer
from tests.organisation import person
from tests.stack import Stack

pytestmark = pytest.mark.xdist_group("identity")

#: A second is promised, which is two polls; the rest is a busy machine.
SOON = 3.0
SESSION = shapes.exactly(
    {
        "id": shapes.uuid,
        "device_id": shapes.nullable(shapes.text),
        "created_at": shapes.time,
        "last_used_at": shapes.time,
        "expires_at": shapes.time,
        "source_address": shapes.nullable(shapes.text),
        "user_agent": shapes.nullable(shapes.text),
        "current": shapes.flag,
    }
)


def sign_in(api: Api, who: str, **more: Any) -> dict[str, Any]:
    return dict(shapes.answer(api.login(who, **more), 200, shapes.grant))


def own(api: Api, grant: dict[str, Any], **params: Any) -> Any:
    answer = api.call(None, "GET", "/auth/sessions", headers=bearer(grant), params=params)
    return shapes.answer(answer, 200, shapes.page(SESSION))


def refused_everywhere_after(gateways: tuple[Api, Api], grants: list[dict[str, Any]]) -> float:
    """Seconds until no gateway takes any of these tokens; fails after 10 s."""
    started = time.monotonic()
    while True:
        codes = [
            api.call(None, "GET", "/users/me", headers=bearer(grant)).status_code
            for api in gateways
            for grant in grants
        ]
        if set(codes) == {401}:
            return time.monotonic() - started
        assert time.monotonic() - started < 10, f"still taken: {codes}"


def test_a_person_sees_where_they_are_signed_in(gateways: tuple[Api, Api], somebody: Callable[..., str]) -> None:
    """Otherwise nobody would notice a stranger in their account."""
    api, _ = gateways
    who, other = somebody(), somebody()
    phone, browser = sign_in(api, who, device_id="phone 7"), sign_in(api, who)
    sign_in(api, other)
    api.post(None, "/auth/refresh", {"refresh_token": phone["refresh_token"], "device_id": "phone 7"})
    items = own(api, browser)["items"]
    assert [item["device_id"] for item in items] == [None, "phone 7"]
    assert [item["current"] for item in items] == [True, False]
    assert all(item["source_address"] == "127.0.0.1" and "httpx" in item["user_agent"] for item in items)
    assert items[1]["last_used_at"] > items[1]["created_at"]
    first = own(api, browser, limit=1)
    rest = own(api, browser, limit=1, cursor=first["next_cursor"])
    assert [*first["items"], *rest["items"]] == items
    assert rest["next_cursor"] is None


def test_an_ended_session_is_refused_at_every_gateway_within_a_second(
    gateways: tuple[Api, Api], somebody: Callable[..., str]
) -> None:
    """Otherwise a stolen phone would stay signed in, or a colleague could sign one out."""
    api, other = gateways
    who, stranger = somebody(), somebody()
    phone, browser, foreign = sign_in(api, who), sign_in(api, who), sign_in(api, stranger)
    phones = next(item["id"] for item in own(api, browser)["items"] if not item["current"])
    assert api.call(None, "GET", "/users/me", headers=bearer(phone)).status_code == 200
    shapes.refused(api.call(None, "DELETE", f"/auth/sessions/{phones}", headers=bearer(foreign)), 404, "not-found")
    assert own(other, browser)["items"][1]["id"] == phones
    assert api.call(None, "DELETE", f"/auth/sessions/{phones}", headers=bearer(browser)).status_code == 204
    assert refused_everywhere_after(gateways, [phone]) < SOON
    shapes.refused(api.post(None, "/auth/refresh", {"refresh_token": phone["refresh_token"]}), 401, "unauthenticated")
    shapes.refused(api.call(None, "DELETE", f"/auth/sessions/{phones}", headers=bearer(browser)), 404, "not-found")
    assert [item["current"] for item in own(api, browser)["items"]] == [True]


def test_a_deactivated_person_is_refused_at_every_gateway_within_a_second(
    house: Stack, gateways: tuple[Api, Api], somebody: Callable[..., str]
) -> None:
    """Otherwise somebody who was let go could go on approving."""
    who = somebody("sales", "manager")
    grants = [sign_in(api, who) for api in gateways]
    person(house, gateways[0], who, ("sales", "manager"), "emea-sales", active=False)
    assert refused_everywhere_after(gateways, grants) < SOON
    shapes.refused(gateways[1].login(who), 401, "unauthenticated")
    answer = gateways[0].post(None, "/auth/refresh", {"refresh_token": grants[0]["refresh_token"]})
    shapes.refused(answer, 401, "unauthenticated")


def test_ended_sessions_stay_ended_when_the_account_comes_back(
    house: Stack, gateways: tuple[Api, Api], somebody: Callable[..., str]
) -> None:
    """Otherwise a phone that was taken from somebody would work again on the day of their return."""
    who = somebody()
    grants = [sign_in(api, who) for api in gateways]

    assert len(as_gateway(house, lambda database: end_sessions(database, who))) == 2
    assert refused_everywhere_after(gateways, grants) < SOON
    sign_in(gateways[0], who)
