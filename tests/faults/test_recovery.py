"""A worker with many requests in its tables is killed, on the real broker; `python -m tests.faults.recovery` is the long form."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from tests import stack as stacks
from tests.client import Api
from tests.faults import history
from tests.faults.recovery import Worker

pytestmark = pytest.mark.xdist_group("faults")

REQUESTS = 20_000
#: Several times what it takes on two idle cores.
WITHIN_S = 40.0
TRIES = 6


def interrupt(worker: Worker) -> int:
    """Kill the worker in the middle of a restore from nothing; how many tries that took."""
    for number in range(1, TRIES + 1):
        seen = len(worker.log())
        with worker.away():
            worker.wipe()
        stacks.wait_until(
            lambda seen=seen: any(line.get("event") == "shards claimed" for line in worker.log()[seen:]), 40, "no claim"
        )
        time.sleep(0.15)  # some of the half second that reading takes
        os.kill(worker.pid, signal.SIGKILL)
        time.sleep(0.1)
        if not any(line.get("event") == "tables restored" for line in worker.log()[seen:]):
            return number
        stacks.wait_until(lambda: worker.alive, 40, "the worker was not started again")
    raise AssertionError(f"no kill of {TRIES} came in the middle of a restore")


@pytest.mark.timeout(300)
def test_many_requests_are_there_again_soon_after_a_kill() -> None:
    """Otherwise a crash of a worker that holds a real history would stop all decisions for minutes, or change what it holds."""
    with stacks.own(ATHENA_RATE_LIMITS="off") as own:
        worker = Worker(own, Api(own.gateway))
        asyncio.run(worker.make_room())
        with worker.away():
            filled = history.fill(own.kafka, worker.partitions, REQUESTS, versions=2)
        assert filled.requests == REQUESTS
        for store in ("wiped", "kept"):
            measured = asyncio.run(worker.restart(store))
            assert set(measured.seconds) == set(range(worker.partitions))
            assert measured.worst < WITHIN_S, f"store {store}: {measured.seconds}"
            assert measured.claims == 1
            assert worker.differences(filled.samples) == []
        interrupt(worker)
        measured = asyncio.run(worker.restart("kept"))
        assert measured.worst < WITHIN_S, f"after an interrupted restore: {measured.seconds}"
        assert worker.differences(filled.samples) == []
        pending = [one for one in filled.samples if one.voter is not None]
        assert len(pending) >= 8
        assert worker.approve(pending[:8]) == []


@pytest.mark.timeout(300)
def test_two_workers_that_start_together_share_what_they_restore() -> None:
    """Otherwise a rebalance in the middle of a restore would leave a partition without an owner, or with half its requests."""
    with stacks.own("--workers", "2", ATHENA_RATE_LIMITS="off") as own:
        worker = Worker(own, Api(own.gateway))
        asyncio.run(worker.make_room())
        with worker.away():
            filled = history.fill(own.kafka, worker.partitions, REQUESTS)
            before = asyncio.run(worker.ends())
            worker.wipe()
            began = time.time()
        measured = asyncio.run(worker.decided("wiped", began, before, 0.0))
        assert measured.worst < WITHIN_S
        pending = [one for one in filled.samples if one.voter is not None]
        assert {one.partition for one in pending[:20]} == set(range(worker.partitions))
        assert worker.approve(pending[:20]) == []
