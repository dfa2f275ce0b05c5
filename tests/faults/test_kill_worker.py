"""`kill -9` of the worker under load, on the real broker and database; the long form: `python -m tests.faults.kill_worker`."""

from __future__ import annotations

import asyncio
import os

import pytest

from tests import stack
from tests.faults.kill_worker import kill_under_load, show

COMMANDS = int(os.environ.get("ATHENA_KILL_COMMANDS", "1500"))
KILLS = int(os.environ.get("ATHENA_KILLS", "1"))


@pytest.mark.xdist_group("faults")
@pytest.mark.timeout(1800 if COMMANDS > 5000 else 400)
def test_a_killed_worker_loses_and_doubles_nothing() -> None:
    """Otherwise one crash would swallow an approval, or count it twice."""
    with stack.own(ATHENA_RATE_LIMITS="off") as own:
        report = asyncio.run(kill_under_load(own.home, COMMANDS, KILLS))
        show(report)
        assert report.tally.acknowledged >= COMMANDS
        assert len(report.kills) == KILLS
        assert not report.wrong, "\n".join(report.wrong[:20])
