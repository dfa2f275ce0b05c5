"""Two or three real `ShardHost`s through kills, freezes, stops, rebalances, wrong clocks and an absent broker; and the proof that
such a run sees mistakes. `python -m ops.simulation.host_run SEED…` repeats a seed."""

from __future__ import annotations

from collections import Counter

import pytest

from ops.simulation.host_run import HostSeedFailed, run_host_seed
from schemas import topics
from tests.simulation.host_planted import PLANTED

SEEDS, CHUNK = 18, 6
#: Seeds within which each planted mistake must show.
BOUND = 40


@pytest.mark.parametrize("start", range(0, SEEDS, CHUNK))
def test_host_seeds_hold(start: int) -> None:
    """A rebalance at the wrong moment would decide something twice, on old state, or never."""
    faults: Counter[str] = Counter()
    for seed in range(start, start + CHUNK):
        run = run_host_seed(seed)
        faults += run.faults
        decided = sum(len(found) for found in run.watch.read_side.events.values())
        assert decided > 5, "the run did nothing worth checking"
    assert {"kill", "stop", "freeze", "rebalance"} <= set(faults)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mistake_of_the_host_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of this kind would reach users unseen."""
    PLANTED[name](monkeypatch)
    for seed in range(BOUND):
        try:
            run_host_seed(seed)
        except HostSeedFailed:
            return
    pytest.fail(f"{name} was not found within {BOUND} seeds")


def test_the_same_host_seed_is_the_same_run() -> None:
    """A seed that failed could not be looked into."""
    first, again, other = run_host_seed(3), run_host_seed(3), run_host_seed(4)
    assert first.digest() == again.digest() and first.trace == again.trace
    assert first.digest() != other.digest()
    assert first.broker.end(topics.COMMANDS, 0) > 0
