"""Who reads slowly is waited for, who hardly reads is not."""

from __future__ import annotations

from gateway.server.reader import SLOWEST, Counted, Reader

#: What a stream keeps in the buffer, and how often it is looked at.
HELD = 96 * 1024
STEP = 0.5
PATIENCE = 30.0


def cut_after(rate: float, total: int | None = None, pause_at: float = 1e9, after_pause: float = 0.0) -> float | None:
    """When somebody is cut off who reads a stream, or `total` bytes, at that rate; None: within an hour, they are not."""
    reader, now, taken = Reader(PATIENCE), 100.0, 0.0
    assert reader.keeps_pace(now, 0, 0)
    while now < 3700.0:
        held = HELD if total is None else max(0, total - int(taken))
        if not reader.keeps_pace(now, int(taken) + held, held):
            return now - 100.0
        now += STEP
        taken += STEP * (rate if now - 100.0 < pause_at else after_pause)
    return None


def test_whoever_reads_a_long_stream_is_not_cut_off() -> None:
    """An export of the audit log over a slow line would end in the middle (seen: 39 MB at 200 KB/s, after 56 s)."""
    for rate in (1_000_000, 200_000, SLOWEST * 1.1):
        assert cut_after(rate) is None, rate
        assert cut_after(rate, total=2_000_000) is None, rate


def test_whoever_does_not_read_or_hardly_does_is() -> None:
    """A byte now and then would hold a connection and its buffers for ever."""
    assert cut_after(0.0) == PATIENCE + STEP
    for total in (None, 500_000):
        found = cut_after(10.0, total)
        assert found is not None and found < PATIENCE + (total or HELD) / SLOWEST + 2, total
    slower = cut_after(SLOWEST * 0.5)
    assert slower is not None and slower < 150


def test_a_fast_start_pays_for_no_slow_end() -> None:
    """Somebody who has read gigabytes could then hold the connection for days."""
    found = cut_after(1e8, pause_at=600.0, after_pause=10.0)
    assert found is not None and found < 600 + 3 * PATIENCE + HELD / SLOWEST
    stopped = cut_after(1e8, pause_at=600.0)
    assert stopped is not None and stopped <= 600 + PATIENCE + 2 * STEP


def test_a_counted_transport_is_the_one_below() -> None:
    """Connections would be closed or aborted nowhere."""

    class Below:
        def __init__(self) -> None:
            self.got: list[bytes] = []

        def write(self, data: bytes) -> None:
            self.got.append(data)

        def is_closing(self) -> bool:
            return True

    below = Below()
    counted = Counted(below)  # type: ignore[arg-type]
    counted.write(b"abc")
    counted.write(b"de")
    assert (counted.written, below.got, counted.is_closing()) == (5, [b"abc", b"de"], True)
