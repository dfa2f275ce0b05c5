"""When a process that stands still ends itself, and when it must not."""

from __future__ import annotations

from agents.watchdog import OPEN_LIMIT_S, SLEPT_S, STALL_LIMIT_S, Place, Watchdog

STEP = 2.0


def looks(watchdog: Watchdog[str], start: float, seconds: float, **places: Place) -> str | None:
    """Look every two seconds at the same places; what was said last."""
    said, now = None, start
    while now <= start + seconds:
        said = watchdog.working(now, places)
        now += STEP
    return said


def test_one_partition_that_stands_still_is_enough() -> None:
    """Requests of one partition would wait for ever behind a stuck fetcher, while the others hide it."""
    watchdog: Watchdog[str] = Watchdog()
    said, now = None, 0.0
    while said is None and now < 10 * STALL_LIMIT_S:
        said = watchdog.working(now, {"stuck": Place(7, 3), "busy": Place(int(now), 100), "idle": Place(5, 0)})
        now += STEP
    assert STALL_LIMIT_S < now < STALL_LIMIT_S + 3 * STEP
    assert said is not None and "stuck at 7 with 3 waiting" in said and "busy" not in said and "idle" not in said


def test_slow_progress_is_progress() -> None:
    """A worker that gets through a hard backlog would be ended again and again, and never get through."""
    watchdog: Watchdog[str] = Watchdog()
    for number in range(20):
        assert looks(watchdog, number * (STALL_LIMIT_S - STEP), STALL_LIMIT_S - 2 * STEP, a=Place(number, 9)) is None


def test_time_without_lag_does_not_count() -> None:
    """A quiet night would end every worker at its first command."""
    watchdog: Watchdog[str] = Watchdog()
    assert looks(watchdog, 0, 10 * STALL_LIMIT_S, a=Place(1, 0)) is None
    assert watchdog.working(10 * STALL_LIMIT_S + STEP, {"a": Place(1, 1)}) is None


def test_a_partition_that_came_anew_starts_with_its_own_time() -> None:
    """A worker that takes over a dead one's lag would be ended before it could work."""
    watchdog: Watchdog[str] = Watchdog()
    looks(watchdog, 0, STALL_LIMIT_S - STEP, a=Place(1, 1))
    assert looks(watchdog, STALL_LIMIT_S, STALL_LIMIT_S - STEP, b=Place(4, 9)) is None
    assert watchdog.working(2 * STALL_LIMIT_S, {"a": Place(1, 1)}) is None


def test_waiting_for_the_clocks_is_no_stand_still() -> None:
    """While an operator corrects a clock the worker would be started over and over."""
    watchdog: Watchdog[str] = Watchdog()
    now = 0.0
    for _ in range(200):
        watchdog.excused(now)
        now += STEP
    assert looks(watchdog, now, STALL_LIMIT_S - STEP, a=Place(1, 5)) is None


def test_recovery_may_last_as_long_as_it_moves() -> None:
    """A worker with a million requests would be ended in the middle of its recovery, for ever."""
    watchdog: Watchdog[str] = Watchdog()
    for number in range(500):
        assert watchdog.opening(number * STEP, number // 30) is None


def test_a_recovery_that_stands_still_ends_the_process() -> None:
    """A recovery that hangs (Faust's does when a broker answers no fetch) would leave partitions without an owner."""
    watchdog: Watchdog[str] = Watchdog()
    said, now = None, 0.0
    while said is None and now < 10 * OPEN_LIMIT_S:
        said = watchdog.opening(now, 42)
        now += STEP
    assert said is not None and OPEN_LIMIT_S < now < OPEN_LIMIT_S + 3 * STEP


def test_each_opening_has_its_own_time() -> None:
    """Rebalances in a row would end a worker that opens after each of them."""
    watchdog: Watchdog[str] = Watchdog()
    now = 0.0
    for _ in range(5):
        for _ in range(int(OPEN_LIMIT_S / STEP) - 2):
            assert watchdog.opening(now, 0) is None
            now += STEP
        assert watchdog.working(now, {"a": Place(1, 1)}) is None
        now += STEP


def test_a_process_that_was_frozen_is_not_blamed_for_it() -> None:
    """A worker that comes back after a freeze would end before it could do what waits."""
    watchdog: Watchdog[str] = Watchdog()
    watchdog.working(0, {"a": Place(1, 1)})
    assert watchdog.working(STALL_LIMIT_S + SLEPT_S, {"a": Place(1, 1)}) is None
    watchdog.opening(200, 0)
    assert watchdog.opening(200 + OPEN_LIMIT_S + SLEPT_S, 0) is None
