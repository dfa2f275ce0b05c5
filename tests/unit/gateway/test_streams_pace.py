"""When messages to and from Kafka wait for more to come."""

from __future__ import annotations

from gateway.streams.pace import LONGEST, TARGET, Pace


def paced(records: int, interval: float, messages: int = 400) -> tuple[Pace, float]:
    pace, now = Pace(), 0.0
    for _ in range(messages):
        now += interval
        pace.moved(records, now)
    return pace, now


def test_a_few_requests_a_second_are_not_kept_waiting_even_where_their_commands_follow_each_other() -> None:
    """Each of the four steps of a request would be answered later than it could be."""
    pace, now = Pace(), 0.0
    for _ in range(50):
        for step in range(4):
            assert pace.wait(now + step * 0.006) == 0
            pace.moved(1, now + step * 0.006)
        now += 0.1


def test_a_busy_stream_waits_for_its_target_and_never_longer_than_the_bound() -> None:
    """The fixed cost of a message would eat a core at some hundred records a second."""
    pace, now = paced(1, 0.002)
    assert abs(pace.wait(now) - LONGEST) < 1e-9
    assert 0 < pace.wait(now + LONGEST / 2) <= LONGEST / 2 + 1e-9
    assert pace.wait(now + LONGEST) == 0
    pace, now = paced(TARGET, 0.002)
    assert 0 < pace.wait(now) < LONGEST / 4


def test_what_was_busy_and_is_quiet_again_does_not_wait() -> None:
    """After a rush everybody would go on waiting."""
    pace, now = paced(1, 0.002)
    assert pace.wait(now + 1) == 0
    pace.moved(1, now + 2)
    assert pace.wait(now + 2) == 0
