"""One client alone must not take the gateway from the others, nor a stranger an account from its owner."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.http.problems import Problem
from gateway.identity.pace import FREE, LONGEST_PAUSE, Pace
from gateway.limits import Buckets, Limits


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    """A client within its limit would be refused, or one beyond it served."""
    clock = Clock()
    buckets = Buckets(10, 5, clock)
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
    buckets = Buckets(10, 5, Clock(), keys=100)
    for number in range(1000):
        buckets.take(str(number))
    assert len(buckets) == 100


def test_the_answer_says_when_to_come_back() -> None:
    """A client would hammer on."""
    limits = Limits(on=True, clock=Clock())
    for _ in range(300):
        limits.user("sam")
    with pytest.raises(Problem) as caught:
        limits.user("sam")
    headers = dict(caught.value.headers)
    assert caught.value.status == 429
    assert {b"retry-after", b"ratelimit-limit", b"ratelimit-remaining", b"ratelimit-reset"} <= set(headers)
    assert int(headers[b"retry-after"]) >= 1
    limits.user("sue")


def test_an_address_has_a_limit_of_its_own() -> None:
    """Calls without a token would have none."""
    limits = Limits(on=True, clock=Clock())
    for _ in range(900):
        limits.address("192.0.2.7")
    with pytest.raises(Problem):
        limits.address("192.0.2.7")


def test_limits_can_be_off_for_load_tests() -> None:
    """A load test would measure the limiter."""
    limits = Limits(on=False, clock=Clock())
    for _ in range(2000):
        limits.user("sam")


def test_failed_sign_ins_are_slowed_and_forgotten() -> None:
    """A password could be guessed at full speed."""
    clock = Clock()
    pace = Pace(clock)
    for _ in range(FREE):
        assert pace.pause("account sam") == 0
        pace.failed("sam", "192.0.2.7")
    assert pace.pause("account sam") > 0
    for _ in range(100):
        pace.failed("sam", "192.0.2.7")
    assert pace.pause("account sam") == LONGEST_PAUSE
    clock.now += 3600
    assert pace.pause("account sam") == 0


def test_a_stranger_does_not_slow_the_owner() -> None:
    """Anybody could keep a colleague from signing in."""
    pace = Pace(Clock())
    pace.succeeded("sam", "192.0.2.1", "phone")
    for _ in range(100):
        pace.failed("sam", "198.51.100.9")

    async def owner() -> float:
        started = time.monotonic()
        async with pace.attempt("sam", "192.0.2.1", None):
            pass
        async with pace.attempt("sam", "203.0.113.5", "phone"):
            pass
        return time.monotonic() - started

    assert asyncio.run(owner()) < 0.2


def test_parallel_guesses_do_not_escape_the_pace() -> None:
    """A thousand guesses at once would cost as little time as one."""
    pace = Pace(Clock())
    for _ in range(100):
        pace.failed("sam", "198.51.100.9")

    async def guess() -> bool:
        try:
            async with pace.attempt("sam", "198.51.100.9", None):
                return True
        except Problem:
            return False

    async def many() -> list[bool]:
        return await asyncio.gather(*(guess() for _ in range(100)))

    assert sum(asyncio.run(many())) <= 8
