"""One client alone must not take the gateway from the others, nor a stranger an account from its owner."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.http.problems import Problem
from gateway.limits import Buckets, Limits, Rate
from ops.settings import Settings


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    """A client within its limit would be refused, or one beyond it served."""
    clock = Clock()
    buckets = Buckets(Rate("user", 10, 5), clock)
    assert [buckets.take("a") for _ in range(5)] == [0] * 5
    assert buckets.take("a") == pytest.approx(0.1)
    assert buckets.take("b") == 0
    clock.now += 0.1
    assert buckets.take("a") == 0
    assert buckets.take("a") > 0
    clock.now += 3600
    assert [buckets.take("a") for _ in range(6)][-1] > 0


def test_a_batch_counts_like_its_items_and_passes_whatever_its_size() -> None:
    """One call could carry two hundred past the limit, or a full batch never pass a small one."""
    calls = Calls(rate_user=10, rate_user_burst=20)
    asyncio.run(calls.limits.user("sam", 15))
    assert calls.allowed("user", "sam", 10) == 5
    with pytest.raises(Problem):
        asyncio.run(calls.limits.user("sam", 2))
    calls.clock.now += 2
    asyncio.run(calls.limits.user("sam", 200))
    assert calls.allowed("user", "sam", 10) == 1, "that of the call itself"


def test_a_batch_of_more_than_a_burst_passes_beside_the_call_that_brings_it() -> None:
    """The call takes one of the bucket, and the rest of it would be refused for ever."""

    async def life() -> None:
        clock = Clock()
        for burst in (1, 20):
            limits = Limits(Settings(rate_user=10, rate_user_burst=burst), clock=clock)
            await limits.user("sam")
            await limits.user("sam", 199)
            with pytest.raises(Problem):
                await limits.user("sam")

    asyncio.run(life())


def test_memory_is_bounded() -> None:
    """A million addresses would fill the memory."""
    buckets = Buckets(Rate("user", 10, 5), Clock(), keys=100)
    for number in range(1000):
        buckets.take(str(number))
    assert len(buckets) == 100


class Calls:
    """A gateway's limits, called as the edge calls them; `refused` is the answer, None when the call may go on."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.limits = Limits(Settings(**settings), clock=self.clock)

    def refused(self, kind: str, whose: str) -> Problem | None:
        try:
            asyncio.run(getattr(self.limits, kind)(whose))
        except Problem as problem:
            return problem
        return None

    def allowed(self, kind: str, whose: str, of: int) -> int:
        """How many of so many calls may go on."""
        return self.passed(lambda limits: getattr(limits, kind)(whose), of)

    def passed(self, call: Callable[[Limits], Awaitable[None]], of: int) -> int:
        """How many of so many such calls may go on."""

        async def calls() -> int:
            done = 0
            for _ in range(of):
                with contextlib.suppress(Problem):
                    await call(self.limits)
                    done += 1
            return done

        return asyncio.run(calls())


@pytest.mark.parametrize(
    ("kind", "whose", "rate", "burst"),
    [("user", "sam", 100, 300), ("address", "192.0.2.7", 300, 900), ("sign_in", "192.0.2.7", 20, 100)],
)
def test_each_has_the_rate_and_burst_that_is_promised(kind: str, whose: str, rate: int, burst: int) -> None:
    """One client could take the gateway from the others, or be refused within its right."""
    calls = Calls()
    assert calls.allowed(kind, whose, burst + 100) == burst
    calls.clock.now += 1
    assert calls.allowed(kind, whose, burst + 100) == rate
    assert calls.allowed(kind, whose + "0", 1) == 1


def test_rates_are_settings() -> None:
    """An operator could not fit the limits to an installation."""
    calls = Calls(rate_user=1, rate_user_burst=2, rate_address=3, rate_address_burst=3)
    assert (calls.allowed("user", "sam", 10), calls.allowed("address", "192.0.2.7", 10)) == (2, 3)


def test_the_answer_says_when_to_come_back() -> None:
    """A client would hammer on."""
    calls = Calls(rate_user=1, rate_user_burst=2)
    assert calls.allowed("user", "sam", 2) == 2
    problem = calls.refused("user", "sam")
    assert problem is not None
    assert problem.status == 429
    headers = dict(problem.headers)
    assert headers == {
        b"retry-after": b"1",
        b"ratelimit-limit": b"2",
        b"ratelimit-remaining": b"0",
        b"ratelimit-reset": b"1",
    }
    calls.clock.now += int(headers[b"retry-after"])
    assert calls.refused("user", "sam") is None, "whoever waits as long as was said may go on"


def of_device(account: str | None, address: str = "192.0.2.7") -> Any:
    """A sign-in from that address with a cookie of that account."""

    async def counted(limits: Limits) -> None:
        await limits.address(address, lambda: account)

    return counted


def test_a_known_device_passes_an_address_that_is_used_up_at_a_rate_of_its_own() -> None:
    """Whoever floods from an office would keep its people out, or a cookie would be a way around the limits."""
    calls = Calls(rate_address=1, rate_address_burst=5)
    assert calls.allowed("address", "192.0.2.7", 100) == 5
    assert calls.passed(of_device(None), 10) == 0
    assert calls.passed(of_device("sam"), 100) == 10
    assert calls.passed(of_device("sue"), 100) == 10, "another account's cookies have used up its rate"
    calls.clock.now += 1
    assert calls.passed(of_device("sam"), 100) == 1 + 2, "one by the address, two by the cookie"
    assert calls.passed(of_device("sam", "192.0.2.8"), 100) == 5 + 10, "at home it is another matter"


def test_a_known_device_takes_of_the_address_as_long_as_that_has_some() -> None:
    """The owner's rate would be used up before the flood began."""
    calls = Calls()
    assert calls.passed(of_device("sam"), 1000) == 900 + 10


def test_many_cookies_of_many_accounts_are_no_way_around_the_rate_of_an_address() -> None:
    """Whoever has a hundred accounts behind one address could flood from there."""
    calls = Calls(rate_address=1, rate_address_burst=1, rate_sign_in=5, rate_sign_in_burst=30)
    assert calls.allowed("address", "192.0.2.7", 1) == 1
    assert sum(calls.passed(of_device(f"account {number}"), 10) for number in range(100)) == 30
    calls.clock.now += 1
    assert sum(calls.passed(of_device(f"account {number}"), 10) for number in range(100, 200)) == 1 + 5


def test_whoever_has_used_up_the_rate_of_their_account_takes_nothing_of_the_others() -> None:
    """One colleague with one cookie could keep all the others out."""
    calls = Calls(rate_address=1, rate_address_burst=1, rate_sign_in=1, rate_sign_in_burst=30)
    assert calls.allowed("address", "192.0.2.7", 1) == 1
    assert calls.passed(of_device("attacker"), 1000) == 10
    assert calls.passed(of_device("sam"), 10) == 10


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    """Any customer of a provider has 2^64 addresses, and so no limit."""
    calls = Calls()
    for number in range(900):
        assert calls.refused("address", f"2001:db8:0:7::{number:x}") is None
    assert calls.refused("address", "2001:db8:0:7:ffff::1") is not None
    assert calls.refused("address", "2001:db8:0:8::1") is None


def test_limits_can_be_off_for_load_tests() -> None:
    """A load test would measure the limiter."""
    assert Calls(rate_limits="off").allowed("user", "sam", 2000) == 2000
