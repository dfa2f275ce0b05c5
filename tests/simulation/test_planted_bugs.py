"""The prover is proved: without these, a simulator that sees nothing would pass for a system without mistakes."""

from __future__ import annotations

import pytest

from ops.simulation.run import SeedFailed, run_seed
from tests.simulation import planted, planted_edges

PLANTED = {**planted.PLANTED, **planted_edges.PLANTED}
#: Seeds within which each planted mistake must show; the slowest to show needs about 165 today.
BOUND = 300


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mistake_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of this kind would reach users unseen."""
    PLANTED[name](monkeypatch)
    for seed in range(BOUND):
        try:
            run_seed(seed)
        except SeedFailed as failed:
            print(f"{name}: {seed + 1} seeds, {failed.failed.broken.promise}")  # noqa: T201 - shown with pytest -rP
            return
    pytest.fail(f"{name} was not found within {BOUND} seeds")
