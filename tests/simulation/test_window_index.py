"""The index of windows after a crash between the requests' table and its own."""

from __future__ import annotations

from agents.sweep import WindowSweep
from ops.simulation.broker import START_MS
from ops.simulation.stores import MemoryStore
from schemas.deadlines import Due
from tables.record import FORMAT
from tables.windows import window_key, window_value

REQUEST = "0f8fad5b-d9cb-469f-a165-70867728950e"
START = START_MS - START_MS % 60_000


def test_an_entry_with_an_older_deadline_is_put_right() -> None:
    """An approved request would not be finalized until the next rebalance: rolled back and approved anew in one minute."""
    requests, windows = MemoryStore(), MemoryStore()
    before, now = START + 10_000, START + 20_000
    assert window_key(before, REQUEST) == window_key(now, REQUEST)
    requests.put_local(REQUEST.encode(), bytes((FORMAT,)) + now.to_bytes(8, "big"))
    windows.put_local(window_key(before, REQUEST), window_value(Due(before, "close", 2)))
    sweep = WindowSweep(0, requests, windows, lambda: 0.0)
    sweep._version = lambda _: 4  # type: ignore[method-assign]
    for _ in sweep.rebuild():
        pass
    assert sweep.due(before + 1) == []
    assert len(sweep.due(now + 1)) == 1
