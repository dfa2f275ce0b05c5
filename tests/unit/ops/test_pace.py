"""When batches wait for each other."""

from __future__ import annotations

from ops.pace import Pace

LONGEST, BACKLOG = 0.15, 400


def paced(size: int, interval: float, polls: int = 100) -> tuple[Pace, float]:
    pace, now = Pace(LONGEST, backlog=BACKLOG), 0.0
    for _ in range(polls):
        now += interval
        pace.delivered(size, now)
    return pace, now


def test_a_quiet_stream_is_not_kept_waiting() -> None:
    """Else every single approval would be seen later than it could be."""
    pace, now = paced(1, 0.05)
    assert pace.wait(now) == 0


def test_a_handful_of_records_at_once_is_no_busy_stream() -> None:
    """Else the last step of a story is seen later than the first ones, although nothing else happens."""
    pace, now = paced(1, 0.001, polls=20)
    assert pace.wait(now) == 0


def test_the_busier_the_stream_the_longer_the_wait() -> None:
    """Else readers wait for the longest batches as soon as the stream is not quiet."""
    waits = []
    for size in (5, 10, 40):
        pace, now = paced(size, 0.04)
        waits.append(pace.wait(now))
    assert 0 < waits[0] < waits[1] < waits[2]


def test_a_busy_stream_waits_a_little_and_never_longer_than_the_bound() -> None:
    """Else the fixed cost of a batch would eat a core at some hundred records a second."""
    pace, now = paced(2, 0.005)
    assert 0 < pace.wait(now) <= LONGEST + 1e-9
    assert pace.wait(now + 2 * LONGEST) == 0


def test_a_backlog_is_read_without_a_pause() -> None:
    """Else catching up after an outage would take longer than it must."""
    pace, now = paced(BACKLOG, 0.01)
    assert pace.wait(now) == 0
