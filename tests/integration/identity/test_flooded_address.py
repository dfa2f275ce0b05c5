"""An address that somebody floods, and the people who sit behind it: those on a device that we know still get in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import httpx
import pytest

from tests import shapes
from tests import stack as stacks
from tests.client import API, PASSWORD, bearer
from tests.gateways import Gateway, started

pytestmark = pytest.mark.xdist_group("identity")

LOGIN = f"{API}/auth/login"
BURST = 5
#: Of one account's devices.
DEVICE_BURST = 3


@pytest.fixture(scope="module")
def limited(house: stacks.Stack) -> Iterator[Gateway]:
    """A gateway where an address has soon used up its calls."""
    with started(
        house,
        ATHENA_RATE_ADDRESS="1",
        ATHENA_RATE_ADDRESS_BURST=str(BURST),
        ATHENA_RATE_DEVICE="1",
        ATHENA_RATE_DEVICE_BURST=str(DEVICE_BURST),
    ) as gateway:
        yield gateway


@contextmanager
def sitting(gateway: Gateway, address: str) -> Iterator[httpx.Client]:
    """Somebody at that address, with a client that keeps no cookies."""
    transport = httpx.HTTPTransport(local_address=address)
    with httpx.Client(base_url=gateway.base, transport=transport, timeout=40) as client:
        yield client


def sign_in(client: httpx.Client, who: str, cookie: str | None = None, password: str = PASSWORD) -> httpx.Response:
    client.cookies.clear()
    headers = {} if cookie is None else {"Cookie": f"athena-device={cookie}"}
    return client.post(LOGIN, json={"email": f"{who}@athena.test", "password": password}, headers=headers)


def cookie_at_home(gateway: Gateway, who: str, address: str) -> str:
    """The device cookie that a sign-in from elsewhere gives."""
    with sitting(gateway, address) as client:
        answer = sign_in(client, who)
    assert answer.status_code == 200, answer.text
    return str(answer.cookies["athena-device"])


def flood(client: httpx.Client) -> None:
    """Use up what the address has."""
    client.cookies.clear()
    for _ in range(50 * BURST):
        if client.get(f"{API}/users/me").status_code == 429:
            return
    raise AssertionError("the address has no limit")


def let_in(calls: Iterable[Callable[[], httpx.Response]]) -> tuple[int, float]:
    """How many of the calls pass the rates at the edge, whatever becomes of them then; and the seconds that all took."""
    began = time.monotonic()
    answers = [call() for call in calls]
    refused = [answer for answer in answers if answer.status_code == 429 and "calls a second" in answer.text]
    for answer in refused:
        shapes.refused(answer, 429, "rate-limited")
    return len(answers) - len(refused), time.monotonic() - began


def test_the_owner_gets_in_from_a_known_device_behind_a_flooded_address(
    limited: Gateway, somebody: Callable[..., str]
) -> None:
    """Anybody in an office could keep all of its people from signing in, for as long as they like."""
    owner = somebody()
    cookie = cookie_at_home(limited, owner, "127.5.0.1")
    with sitting(limited, "127.5.0.2") as office:
        flood(office)
        began = time.monotonic()
        answer = sign_in(office, owner, cookie)
        assert answer.status_code == 200, answer.text
        assert time.monotonic() - began < 5.0
        assert answer.cookies["athena-device"] == cookie
        flood(office)
        assert sign_in(office, owner, cookie, "not the right one").status_code == 401


def test_the_cookie_opens_nothing_but_the_sign_in(limited: Gateway, somebody: Callable[..., str]) -> None:
    """Whoever signed in once could call as often as they like from an address that has a limit."""
    owner = somebody()
    cookie = cookie_at_home(limited, owner, "127.5.1.1")
    with sitting(limited, "127.5.1.2") as office:
        flood(office)
        answer = sign_in(office, owner, cookie)
        assert answer.status_code == 200, answer.text
        headers = {"Cookie": f"athena-device={cookie}", **bearer(answer.json())}
        places = [("GET", "/users/me"), ("POST", "/auth/refresh"), ("POST", "/auth/login/"), ("GET", "/auth/login")]
        flood(office)
        calls = [partial(office.request, method, API + path, headers=headers) for method, path in places * 4]
        passed, seconds = let_in(calls)
    assert passed <= 1 + seconds, seconds


def test_cookies_without_our_mac_are_nothing(limited: Gateway, somebody: Callable[..., str]) -> None:
    """A flood with made-up cookies would pass."""
    cookie = cookie_at_home(limited, somebody(), "127.5.2.1")
    value, account, mac = cookie.split(".")
    bent = [f"{value[::-1]}.{account}.{mac}", f"{value}.{account[::-1]}.{mac}", f"{value}.{account}.{mac[::-1]}", value]
    with sitting(limited, "127.5.2.2") as office:
        flood(office)
        passed, seconds = let_in([partial(sign_in, office, "sam.sales", one) for one in bent * 4])
    assert passed <= 1 + seconds, seconds


def test_a_stock_of_cookies_is_no_way_around_the_limit_and_takes_nothing_from_others(
    limited: Gateway, somebody: Callable[..., str]
) -> None:
    """A colleague who has signed in often could flood beyond the limit, or use up what the others' devices have."""
    attacker, owner = somebody(), somebody()
    stock = [cookie_at_home(limited, attacker, f"127.5.3.{number + 1}") for number in range(8)]
    cookie = cookie_at_home(limited, owner, "127.5.3.100")
    with sitting(limited, "127.5.4.1") as office:
        flood(office)
        passed, seconds = let_in([partial(sign_in, office, "sue.sales", one, "a guess") for one in stock * 5])
        # By the cookies' rate, and by the address's own.
        assert DEVICE_BURST <= passed <= DEVICE_BURST + 2 * (1 + seconds), seconds
        assert sign_in(office, owner, cookie).status_code == 200
