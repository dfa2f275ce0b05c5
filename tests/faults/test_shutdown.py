"""SIGTERM under load, on the real broker and database: each process finishes what it has in hand, and ends within its bound."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from ops.stack.home import Home
from ops.stack.state import State
from schemas import topics
from tests import invariants
from tests import stack as stacks
from tests.faults.load import Load

#: What the product promises, in seconds; the supervisor kills after that.
BOUND = 10.0
LANES, COMMANDS = 16, 1500
#: Fields of /proc/PID/stat, after the name: the state, and the exit code of a process that nobody has waited for.
STATE, EXIT_CODE = 0, 49


@dataclass(frozen=True)
class Ending:
    """How a process ended: seconds from the signal, and its exit code."""

    seconds: float
    code: int


@contextmanager
def unattended(home: Home) -> Iterator[None]:
    """Nobody starts again what ends."""
    state = State.read(home)
    assert state is not None and state.supervisor is not None
    os.kill(state.supervisor.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(state.supervisor.pid, signal.SIGCONT)


async def ask_to_end(pid: int) -> Ending:
    """SIGTERM, then wait. Its parent stands still, so that the process stays as a zombie with its exit code."""
    began = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    while True:
        fields = (await asyncio.to_thread(Path(f"/proc/{pid}/stat").read_text)).rpartition(")")[2].split()
        if fields[STATE] == "Z":
            return Ending(time.monotonic() - began, os.waitstatus_to_exitcode(int(fields[EXIT_CODE])))
        assert time.monotonic() - began < 3 * BOUND, f"{pid} does not end"
        await asyncio.sleep(0.02)


async def undone(home: Home) -> dict[int, tuple[int, int]]:
    """By partition: what the group has committed, and the end of what was decided, where the first is less."""
    decided: dict[int, int] = {}
    for record in await invariants.read(home.kafka, topics.OUTCOMES):
        body = orjson.loads(record.value)
        if body["request_id"] is not None:
            decided[body["partition"]] = max(decided.get(body["partition"], 0), body["offset"] + 1)
    admin = home.kafka.admin()
    await admin.start()
    try:
        found = await admin.list_consumer_group_offsets(topics.WORKER_GROUP)
    finally:
        await admin.close()
    committed = {tp.partition: one.offset for tp, one in found.items() if tp.topic == topics.COMMANDS}
    return {p: (committed.get(p, 0), end) for p, end in decided.items() if committed.get(p, 0) < end}


async def acknowledged(driver: Load, count: int) -> None:
    while driver.tally.acknowledged < count:  # noqa: ASYNC110 - a plain counter
        await asyncio.sleep(0.02)


@pytest.mark.xdist_group("faults")
@pytest.mark.timeout(400)
def test_each_process_ends_in_time_and_loses_nothing() -> None:
    """Every deployment would lose commands in hand, decide some again, or be killed half way."""
    endings: dict[str, Ending] = {}
    left: dict[int, tuple[int, int]] = {}
    pauses: dict[str, float] = {}

    async def story(home: Home) -> Load:
        async with Load(home, 3, commands=COMMANDS) as driver:
            running = asyncio.create_task(driver.run(LANES))
            for number, process in enumerate(("worker", "projector", "gateway"), start=1):
                await acknowledged(driver, COMMANDS * number // 5)
                with unattended(home):
                    endings[process] = await ask_to_end(home.endpoints()["pids"][process])
                    if process == "worker":
                        left.update(await undone(home))
                before, began = driver.tally.acknowledged, time.monotonic()
                await acknowledged(driver, before + LANES)
                pauses[process] = time.monotonic() - began
            await running
        return driver

    with stacks.own(ATHENA_RATE_LIMITS="off") as own:
        driver = asyncio.run(asyncio.wait_for(story(own.home), 300))
        found = asyncio.run(invariants.check(own.home, driver.book))
    print(endings, pauses, left)  # noqa: T201 - the figures
    assert {process: one.code for process, one in endings.items()} == {"worker": 0, "projector": 0, "gateway": 0}
    assert not [f"{process}: {one.seconds:.1f} s" for process, one in endings.items() if one.seconds > BOUND]
    assert not left, "what was decided was not committed: it would be decided again"
    assert not found.problems + driver.tally.failures


@pytest.mark.xdist_group("faults")
@pytest.mark.timeout(300)
def test_a_stop_without_kafka_is_bounded() -> None:
    """A process that hangs at its end holds up the repair of what it waits for."""
    with stacks.own(ATHENA_RATE_LIMITS="off") as own:
        pids = own.endpoints["pids"]
        with unattended(own.home):
            os.kill(pids["kafka"], signal.SIGSTOP)
            try:
                endings = asyncio.run(_all_end({name: pids[name] for name in ("worker", "projector", "gateway")}))
            finally:
                os.kill(pids["kafka"], signal.SIGCONT)
        print(endings)  # noqa: T201 - the figures
        assert not [f"{name}: {one.seconds:.1f} s" for name, one in endings.items() if one.seconds > BOUND]
        own.wait_ready()


async def _all_end(pids: dict[str, int]) -> dict[str, Ending]:
    endings = await asyncio.gather(*(ask_to_end(pid) for pid in pids.values()))
    return dict(zip(pids, endings, strict=True))


@pytest.mark.xdist_group("faults")
@pytest.mark.timeout(300)
def test_a_stop_while_starting_is_bounded() -> None:
    """A worker that is stopped while it recovers, or waits for Kafka, would have to be killed."""
    with stacks.own(ATHENA_RATE_LIMITS="off") as own:
        pid = own.pid("worker")
        kafka = own.pid("kafka")
        claims = (own.home.logs / "worker.log").read_text().count("shards claimed")
        os.kill(pid, signal.SIGKILL)

        def recovering() -> bool:
            return (own.home.logs / "worker.log").read_text().count("shards claimed") > claims

        stacks.wait_until(recovering, 60, "the worker has not claimed its shards")
        with unattended(own.home):
            os.kill(kafka, signal.SIGSTOP)
            try:
                ending = asyncio.run(ask_to_end(own.pid("worker")))
            finally:
                os.kill(kafka, signal.SIGCONT)
        print(ending)  # noqa: T201 - the figure
        assert ending.seconds <= BOUND
        own.wait_ready()
