"""The short form of `python -m tests.feed.crowd`."""

from __future__ import annotations

import statistics

from tests.client import Api
from tests.feed import crowd
from tests.stack import Stack


def test_many_idle_clients_and_one_that_does_not_read_harm_nobody(stack: Stack) -> None:
    """One phone in a tunnel would hold up everybody's events, or fill the gateway's memory."""
    with crowd.roomy(stack) as gateway:
        found = crowd.measure(gateway, Api(gateway.base), clients=100, events=250, idle_as="ana.sales")
    assert found.complete and found.twice == 0, str(found)
    assert found.cut == 1, str(found)
    assert found.per_client < 200 * 1024, str(found)
    assert found.growth_beside_slow < 40 * 2**20, str(found)
    assert statistics.median(found.beside_slow) < 2 * statistics.median(found.alone) + 0.25, str(found)
