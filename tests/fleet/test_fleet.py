"""The short form: a dozen phones, against a stack of their own."""

from __future__ import annotations

import pytest

from tests import stack as stacks
from tests.fleet.fleet import fly
from tests.fleet.plan import plans

pytestmark = [pytest.mark.xdist_group("fleet"), pytest.mark.timeout(300)]

#: What a run must have met, or it would show little.
MET = (
    "told applied", "told duplicate", "told conflict", "told rejected", "told blocked", "killed", "line torn", "line cut",
    "line unheard",
)  # fmt: skip


def test_every_phone_ends_as_the_server_has_it() -> None:
    """A tap would be lost, done twice, or answered wrongly; or a phone would show for ever what is not so."""
    with stacks.own(ATHENA_RATE_LIMITS="off") as own:
        found = fly(own, devices=12, steps=40, seed=20261126, rest=2.0)
    assert not found.wrong, "\n".join(found.wrong)
    missed = {name for name in MET if not found.met[name]}
    assert not missed, f"no phone met {missed}\n{found}"
    assert found.taps > 100
    assert found.changes > 2


def test_the_same_seed_makes_the_same_plans() -> None:
    """What a run has found could not be looked at again."""
    assert plans(7, 5, 10) == plans(7, 5, 10) != plans(8, 5, 10)
