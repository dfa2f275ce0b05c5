"""Refresh tokens: one successor each, a second chance for an answer that was lost, and none for a thief."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx
import pytest

from tests import shapes
from tests.as_gateway import as_gateway
from tests.client import Api
from tests.stack import Stack

pytestmark = pytest.mark.xdist_group("identity")

AT_ONCE = 100
#: How often one asks a busy gateway at most; within the 10 s in which a token may be used again.
BUSY = 4


def renew(api: Api, token: str, device_id: str | None = None, agent: str = "phone/1") -> httpx.Response:
    body = {"refresh_token": token} | ({} if device_id is None else {"device_id": device_id})
    return httpx.post(f"{api.base}/api/v1/auth/refresh", json=body, headers={"User-Agent": agent}, timeout=40)


def at_once(gateways: tuple[Api, Api], token: str, agents: Callable[[int], str]) -> list[httpx.Response]:
    """Refresh one token `AT_ONCE` times at the same moment, half of it at each gateway. Where the machine is so busy that a gateway
    has no connection to the database for two seconds (503), one asks again, as a phone does.
    """
    ready = Barrier(AT_ONCE)

    def one(number: int) -> httpx.Response:
        with httpx.Client(base_url=gateways[number % 2].base, timeout=40) as client:
            ready.wait(60)
            for _ in range(BUSY):
                found = client.post(
                    "/api/v1/auth/refresh", json={"refresh_token": token}, headers={"User-Agent": agents(number)}
                )
                if found.status_code != 503:
                    break
            return found

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(one, range(AT_ONCE)))


def tokens_of(stack: Stack, who: str) -> tuple[int, int]:
    """How many refresh tokens this person's sessions had, and how many of them are unused."""

    row = as_gateway(
        stack,
        lambda database: database.row(
            "SELECT count(*), count(*) FILTER (WHERE used_at IS NULL) FROM identity.refresh_tokens t "
            "JOIN identity.sessions s ON s.id = t.session_id WHERE s.user_id = $1",
            who,
        ),
    )
    assert row is not None
    return row[0], row[1]


def test_a_hundred_refreshes_at_once_by_one_device_give_one_successor(
    house: Stack, gateways: tuple[Api, Api], somebody: Callable[..., str]
) -> None:
    """Otherwise a phone with a bad connection would be signed out, or one token would become many."""
    who = somebody()
    grant = gateways[0].login(who).json()
    found = at_once(gateways, grant["refresh_token"], lambda _number: "phone/1")
    documents = [shapes.answer(answer, 200, shapes.grant) for answer in found]
    assert len({document["refresh_token"] for document in documents}) == 1
    assert len({document["access_token"] for document in documents}) == 1
    assert tokens_of(house, who) == (2, 1)
    shapes.answer(renew(gateways[1], documents[0]["refresh_token"]), 200, shapes.grant)


def test_a_hundred_refreshes_at_once_by_many_devices_end_the_session(
    house: Stack, gateways: tuple[Api, Api], somebody: Callable[..., str]
) -> None:
    """Otherwise a thief who is as quick as the owner would stay signed in unseen."""
    who = somebody()
    grant = gateways[0].login(who).json()
    found = at_once(gateways, grant["refresh_token"], lambda number: f"device/{number}")
    assert [answer.status_code for answer in found].count(200) == 1
    for answer in found:
        if answer.status_code != 200:
            shapes.refused(answer, 401, "unauthenticated")
    assert tokens_of(house, who) == (2, 1)
    winner = next(answer.json() for answer in found if answer.status_code == 200)
    shapes.refused(renew(gateways[0], winner["refresh_token"]), 401, "unauthenticated")


def test_a_lost_answer_is_given_again_to_the_same_device_alone(
    gateways: tuple[Api, Api], somebody: Callable[..., str]
) -> None:
    """Otherwise a phone in a lift would be signed out, or a thief would get the owner's next token."""
    api, other = gateways
    who = somebody()
    grant = api.login(who, device_id="phone 7").json()
    first = shapes.answer(renew(api, grant["refresh_token"], "phone 7"), 200, shapes.grant)
    assert shapes.answer(renew(other, grant["refresh_token"], "phone 7"), 200, shapes.grant) == first
    second = shapes.answer(renew(api, first["refresh_token"], "phone 7"), 200, shapes.grant)
    late = renew(api, grant["refresh_token"], "phone 7")
    shapes.refused(late, 401, "unauthenticated")
    shapes.refused(renew(api, second["refresh_token"], "phone 7"), 401, "unauthenticated")


@pytest.mark.parametrize("thief", [{"device_id": "phone 8"}, {"agent": "thief/1"}])
def test_another_device_ends_the_session(
    gateways: tuple[Api, Api], somebody: Callable[..., str], thief: dict[str, str]
) -> None:
    """Otherwise a token copied from a phone would work elsewhere."""
    api, _ = gateways
    grant = api.login(somebody(), device_id="phone 7").json()
    used = shapes.answer(renew(api, grant["refresh_token"], "phone 7"), 200, shapes.grant)
    shapes.refused(renew(api, grant["refresh_token"], **({"device_id": "phone 7"} | thief)), 401, "unauthenticated")
    shapes.refused(renew(api, used["refresh_token"], "phone 7"), 401, "unauthenticated")
