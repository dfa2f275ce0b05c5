"""Every fault of `quality.md` once, on real servers and processes, under load; the long form: `make torture MINUTES=30`."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator

import pytest

from tests.faults.actions import FAULTS
from tests.faults.rig import rig
from tests.faults.torture import show, torture

#: Seconds that a server stays away: longer than the group's session time-out, and than every client's first retries.
OUTAGE = 6.5
#: Generous: the machine may be busy with other tests. `make torture` holds the product to 30 s.
RECOVERED_WITHIN = 90.0
#: In this order; faults of one line come at once, where each leaves the others their effect.
SHORT = (
    ("kill -9 worker", "kill -9 projector", "clock of projector -1 h"),
    ("worker joins", "postgres silent"),
    ("disk full", "worker leaves", "commands delayed", "clock of gateway -1 h"),
    ("broker refuses", "postgres refuses"),
    ("broker silent", "commands repeated"),
    ("kill -9 kafka", "kill -9 gateway", "kill -9 postgres"),
    ("worker frozen", "clock of projector +1 h"),
    ("worker cut off", "garbage", "clock of gateway +1 h"),
    ("store deleted", "broker restarted", "postgres restarted", "commands truncated"),
    ("clock of worker +1 h", "lines slow"),
    ("kill -9 everything",),
    ("lines cut", "commands reordered", "clock of worker -1 h"),
)


def in_order(_dice: random.Random) -> Iterator[tuple[str, ...]]:
    return iter(SHORT)


def test_the_short_form_leaves_no_fault_out() -> None:
    """Otherwise a fault could be dropped from the every-day run, and nobody would see it."""
    names = [name for together in SHORT for name in together]
    assert sorted(names) == sorted(FAULTS)


@pytest.mark.xdist_group("faults")
@pytest.mark.timeout(600)
def test_nothing_is_lost_or_done_twice_whatever_breaks() -> None:
    """Otherwise a dead server, a full disk or a wrong clock would swallow an approval, or count it twice."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with rig() as broken:
        report = asyncio.run(torture(broken, 1, in_order, OUTAGE, limit=RECOVERED_WITHIN, say=print))
    show(report)
    assert [hit.name for hit in report.hits] == [name for together in SHORT for name in together]
    assert report.tally.acknowledged > 500
    assert report.found.dead_letters > 0
    assert report.samples > 10
    assert not report.wrong, "\n".join(report.wrong[:20])
