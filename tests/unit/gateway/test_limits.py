"""One client alone must not take the gateway from the others."""

from __future__ import annotations

import pytest

from gateway.http.problems import Problem
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
