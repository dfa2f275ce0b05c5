"""One client alone must not take the gateway from the others, nor a stranger an account from its owner."""

from __future__ import annotations

import asyncio
import contextlib
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

        async def calls() -> int:
            done = 0
            for _ in range(of):
                with contextlib.suppress(Problem):
                    await getattr(self.limits, kind)(whose)
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
