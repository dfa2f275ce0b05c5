"""When new submissions are refused, for how long, and when they are accepted again."""

from __future__ import annotations

import pytest

from gateway.backpressure import LONGEST_RETRY, STALE_SECONDS, Backpressure


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def reads(gate: Backpressure, clock: Clock, *readings: tuple[int, int]) -> None:
    """Readings of (lag, offsets committed), a second apart."""
    for lag, done in readings:
        clock.now += 1
        gate.observe(lag, done)


def test_submissions_are_refused_only_beyond_the_limit(clock: Clock) -> None:
    """Otherwise people could not file although the workers keep up."""
    gate = Backpressure(100, clock)
    reads(gate, clock, (0, 0), (100, 0))
    assert not gate.active
    reads(gate, clock, (101, 0))
    assert gate.active


def test_the_gate_opens_well_below_the_limit(clock: Clock) -> None:
    """Otherwise it would flutter around the limit, and each client would see both."""
    gate = Backpressure(100, clock)
    reads(gate, clock, (200, 0), (95, 105), (71, 129))
    assert gate.active
    reads(gate, clock, (70, 130))
    assert not gate.active
    reads(gate, clock, (95, 130))
    assert not gate.active


def test_without_fresh_knowledge_submissions_are_accepted(clock: Clock) -> None:
    """Otherwise a gateway that lost sight of the workers would refuse for ever."""
    gate = Backpressure(100, clock)
    assert (gate.active, gate.lag) == (False, None)
    reads(gate, clock, (500, 0))
    clock.now += STALE_SECONDS
    assert gate.active
    clock.now += 0.1
    assert (gate.active, gate.lag) == (False, None)
    gate.observe(500, 0)
    assert gate.active


@pytest.mark.parametrize(
    ("excess", "rate", "least", "most"), [(300, 10, 30, 45), (10, 100, 1, 2), (90_000, 10, 45, 60)]
)
def test_clients_are_told_when_the_lag_should_be_gone(
    clock: Clock, excess: int, rate: int, least: int, most: int
) -> None:
    """Otherwise they would come back too early, and be refused again, or far too late."""
    gate = Backpressure(1000, clock)
    lag = 700 + excess + 1000
    reads(gate, clock, *((lag - rate * second, rate * second) for second in range(101)))
    gate.observe(700 + excess, rate * 100)
    gate.shedding = True
    found = {gate.retry_after() for _ in range(300)}
    assert least <= min(found) <= max(found) <= most


def test_clients_do_not_come_back_together(clock: Clock) -> None:
    """Otherwise they would overload it anew in one second, again and again."""
    for rate in (0, 20):
        gate = Backpressure(1000, clock)
        reads(gate, clock, (2000 + rate, 0), (2000, rate))
        assert len({gate.retry_after() for _ in range(300)}) > 5


def test_workers_that_stand_still_give_the_longest_wait(clock: Clock) -> None:
    """Otherwise a rate of nothing would be a division by nothing."""
    gate = Backpressure(10, clock, spread=lambda: 0.0)
    reads(gate, clock, (500, 7), (500, 7))
    assert gate.retry_after() == LONGEST_RETRY


def test_idle_time_is_no_slowness(clock: Clock) -> None:
    """Otherwise after a quiet night the first rush would be sent away for a minute."""
    gate = Backpressure(100, clock, spread=lambda: 0.0)
    reads(gate, clock, *((0, 0) for _ in range(50)), (1070, 0), (570, 500))
    assert gate.retry_after() == 1
    assert gate.rate == 500


def test_offsets_that_go_back_are_no_negative_rate(clock: Clock) -> None:
    """Otherwise a topic that was made anew would give a wait below nothing."""
    gate = Backpressure(10, clock)
    reads(gate, clock, (100, 1000), (100, 0))
    assert gate.rate == 0
    assert gate.retry_after() >= 1


def test_the_refusal_is_a_503_with_its_time(clock: Clock) -> None:
    """Otherwise a client could not know that it may simply repeat."""
    gate = Backpressure(10, clock)
    reads(gate, clock, (100, 0))
    problem = gate.refusal()
    assert (problem.status, problem.code) == (503, "unavailable")
    assert 1 <= int(dict(problem.headers)[b"retry-after"]) <= LONGEST_RETRY
