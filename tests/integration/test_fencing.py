"""Whoever claims an identity last is the only one that can write: on the real broker, and with a worker that was frozen."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaConnectionError

from agents import fencing
from agents.fencing import FencedProducer, Line
from agents.ports import Fenced
from ops.kafka_clients import Kafka
from ops.stack.ports import LOOPBACK
from tests import invariants
from tests.client import Api, submission
from tests.stack import Stack, wait_until

TIME_OUT = 90.0


def within(work: Coroutine[Any, Any, Any]) -> Any:
    async def run() -> Any:
        async with asyncio.timeout(TIME_OUT):
            return await work

    return asyncio.run(run())


async def topic_of(stack: Stack, partitions: int = 3) -> str:
    """A topic of this test's own."""
    name = f"test-fencing-{uuid.uuid4()}"
    admin = stack.kafka.admin()
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1)])
    finally:
        await admin.close()
    return name


async def values(stack: Stack, topic: str) -> list[bytes]:
    return [record.value for record in await invariants.read(stack.kafka, topic)]


def test_an_older_owner_is_refused_where_the_new_one_has_written_nothing(stack: Stack) -> None:
    """Otherwise a worker that wakes up would bury newer state under its own."""

    async def run() -> None:
        topic, identity = await topic_of(stack), f"test-{uuid.uuid4()}"
        old, new = FencedProducer(stack.kafka, identity), FencedProducer(stack.kafka, identity)
        owned = [(topic, partition) for partition in range(3)]
        try:
            await old.claim(owned)
            for _, partition in owned[:2]:
                await old.append(topic, partition, [(b"key", b"old", [])])
            await new.claim(owned)
            # Partition 1 has the old owner's records, 2 nobody's; the new owner has written to neither.
            for _, partition in owned:
                with pytest.raises(Fenced):
                    await old.append(topic, partition, [(b"key", b"zombie", [])])
            for _, partition in owned:
                await new.append(topic, partition, [(b"key", b"new", [])])
            with pytest.raises(Fenced):
                await old.append(topic, 0, [(b"key", b"zombie", [])])
            assert sorted(await values(stack, topic)) == [b"new"] * 3 + [b"old"] * 2
        finally:
            await asyncio.gather(old.stop(), new.stop(), return_exceptions=True)

    within(run())


def test_an_owner_that_claims_again_goes_on(stack: Stack) -> None:
    """Otherwise a worker that gets its partitions back could not write any more."""

    async def run() -> None:
        topic, identity = await topic_of(stack), f"test-{uuid.uuid4()}"
        for number in range(5):
            producer = FencedProducer(stack.kafka, identity)
            try:
                await producer.claim([(topic, 0)])
                rows = [(None, b"%d-%d" % (number, index), []) for index in range(100)]
                last = await producer.append(topic, 0, rows)
                assert last >= number * 100 + 99
            finally:
                await producer.stop()
        found = await values(stack, topic)
        assert found == [b"%d-%d" % (number, index) for number in range(5) for index in range(100)]

    within(run())


def test_who_is_shut_out_does_not_disturb_the_others_on_its_line(stack: Stack) -> None:
    """Shards share a connection: one that has lost its partition must neither write nor stop those that have not."""

    async def run() -> None:
        topic = await topic_of(stack)
        names = [f"test-{uuid.uuid4()}" for _ in range(2)]
        line = Line(stack.kafka, "test-shards")
        lost, kept = (FencedProducer(stack.kafka, name, line) for name in names)
        newer = FencedProducer(stack.kafka, names[0])
        try:
            await lost.claim([(topic, 0)])
            await kept.claim([(topic, 1)])
            for number in range(3):
                found = await asyncio.gather(
                    lost.append(topic, 0, [(None, b"lost", [])]), kept.append(topic, 1, [(None, b"kept", [])])
                )
                assert number <= min(found), "each counts its own sequence"
            await newer.claim([(topic, 0)])
            for _ in range(2):
                zombie, fine = await asyncio.gather(
                    lost.append(topic, 0, [(None, b"zombie", [])]),
                    kept.append(topic, 1, [(None, b"kept", [])]),
                    return_exceptions=True,
                )
                assert isinstance(zombie, Fenced) and isinstance(fine, int)
            # It claims again on the same line, as after a rebalance that brings the partition back.
            await lost.claim([(topic, 0)])
            await lost.append(topic, 0, [(None, b"back", [])])
            with pytest.raises(Fenced):
                await newer.append(topic, 0, [(None, b"zombie", [])])
            assert sorted(await values(stack, topic)) == [b"back"] + [b"kept"] * 5 + [b"lost"] * 3
        finally:
            await asyncio.gather(newer.stop(), line.stop(), return_exceptions=True)

    within(run())


def test_what_an_earlier_claim_left_in_the_line_is_refused(stack: Stack) -> None:
    """A claim that was interrupted leaves its marker behind; it must not take the place of what comes after."""

    async def run() -> None:
        topic, line = await topic_of(stack), Line(stack.kafka, "test-shards")
        producer = FencedProducer(stack.kafka, f"test-{uuid.uuid4()}", line)
        try:
            await producer.claim([(topic, 0)])
            early = producer._claimed
            await producer.claim([(topic, 0)])
            now = producer._claimed
            producer._claimed = early
            late = await producer.send(topic, 0, [(None, b"late", [])])
            producer._claimed = now
            await producer.append(topic, 0, [(None, b"now", [])])
            with pytest.raises(Fenced):
                await producer.acknowledged(late)
            assert await values(stack, topic) == [b"now"]
        finally:
            await line.stop()

    within(run())


def test_a_full_line_makes_the_next_batch_wait(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request may hold a batch of every partition: without a bound it would be more than a broker takes."""
    monkeypatch.setattr(fencing, "MAX_UNDERWAY_BYTES", 50_000)

    async def run() -> None:
        topic, line = await topic_of(stack), Line(stack.kafka, "test-shards")
        producers = [FencedProducer(stack.kafka, f"test-{uuid.uuid4()}", line) for _ in range(3)]
        try:
            most = 0
            for number, producer in enumerate(producers):
                await producer.claim([(topic, number)])
            work = [
                asyncio.ensure_future(producer.append(topic, number, [(None, bytes(30_000), [])]))
                for number, producer in enumerate(producers)
            ]
            while not all(one.done() for one in work):
                most = max(most, line._underway)
                await asyncio.sleep(0)
            for one in work:
                await one
            assert 0 < most <= 50_000
            assert line._underway == 0
        finally:
            await line.stop()

    within(run())


def test_identities_do_not_disturb_each_other(stack: Stack) -> None:
    """Otherwise taking over one partition would stop all others."""

    async def run() -> None:
        topic = await topic_of(stack)
        one, other = (FencedProducer(stack.kafka, f"test-{uuid.uuid4()}") for _ in range(2))
        try:
            await one.claim([(topic, 0)])
            await other.claim([(topic, 0), (topic, 1)])
            await one.append(topic, 0, [(None, b"one", [])])
            await other.append(topic, 0, [(None, b"other", [])])
            assert sorted(await values(stack, topic)) == [b"one", b"other"]
        finally:
            await asyncio.gather(one.stop(), other.stop(), return_exceptions=True)

    within(run())


def test_a_claim_that_fails_leaves_no_connection_open() -> None:
    """Each rebalance while a broker is away would cost a worker sockets and memory, until it has none."""

    async def work() -> list[str]:
        left: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: left.append(context["message"]))
        with pytest.raises(KafkaConnectionError):
            await FencedProducer(Kafka(f"{LOOPBACK}:{free_port()}"), "nobody").claim([("nothing", 0)])
        gc.collect()
        return left

    assert within(work()) == []


def free_port() -> int:
    import socket  # noqa: PLC0415

    with socket.socket() as found:
        found.bind((LOOPBACK, 0))
        return int(found.getsockname()[1])


@contextmanager
def second_worker(stack: Stack, folder: Path) -> Iterator[tuple[psutil.Process, str]]:
    """Another worker on the same stack: its process, and the address of its metrics."""
    port = free_port()
    environment = os.environ | stack.home.environment("worker")
    environment |= {
        "ATHENA_DATA_DIR": str(folder / "data"),
        "ATHENA_INSTANCE_ID": f"test-{uuid.uuid4()}",
        "ATHENA_METRICS_HOST": LOOPBACK,
        "ATHENA_METRICS_PORT": str(port),
    }
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.cli", "worker"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
        )
    try:
        yield psutil.Process(process.pid), f"http://{LOOPBACK}:{port}/metrics"
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def partitions_of(address: str) -> int:
    """How many commands partitions the worker decides for, 0 while it does not answer or is not ready."""
    try:
        text = httpx.get(address, timeout=5).text
    except httpx.HTTPError:
        return 0
    found = {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if line.startswith("athena_worker_")}
    return int(found.get("athena_worker_partitions", 0)) if found.get("athena_worker_ready") == 1 else 0


@pytest.mark.xdist_group("changing")
@pytest.mark.timeout(400)
def test_a_frozen_worker_that_wakes_up_writes_nothing(changing: Stack, changing_api: Api, tmp_path: Path) -> None:
    """Otherwise a pause of one machine would undo decisions that were made since."""
    api = changing_api

    def first() -> str:
        return str(changing.endpoints["metrics"]["worker"])

    with second_worker(changing, tmp_path) as (second, address):
        wait_until(lambda: partitions_of(address) == 2, 60, "the second worker has not got its two partitions")
        wait_until(lambda: partitions_of(first()) == 2, 60, "the first worker has not kept its two partitions")
        requests = [api.submit() for _ in range(8)]
        frozen = psutil.Process(changing.pid("worker"))
        os.kill(frozen.pid, signal.SIGSTOP)
        try:
            # In flight for the frozen one: it has fetched them, or will find them in its socket when it wakes up.
            promised = [
                api.post("sam.sales", "/requests", submission(), headers={"Prefer": "respond-async"}).json()["id"]
                for _ in range(40)
            ]
            wait_until(lambda: partitions_of(address) == 4, 60, "the second worker has not taken over")
            after = [api.approved("l1.emea", request) for request in requests]
            for command in promised:
                wait_until(
                    lambda command=command: api.get("sam.sales", f"/commands/{command}").json()["status"] == "accepted",
                    30, f"promised command {command} has no outcome",
                )  # fmt: skip
        finally:
            os.kill(frozen.pid, signal.SIGCONT)
        # It may also find out by itself that it lost its place, and begin anew; then it is no zombie any more.
        wait_until(
            lambda: partitions_of(address) == 2 and partitions_of(first()) == 2,
            90, "the two workers do not share the partitions again",
        )  # fmt: skip
        for request in after:
            assert api.read("sam.sales", request) == request
        for request in after[:4]:
            # The woken one may just be ending, and its partitions moving: the promise is an outcome, not its speed.
            undone = api.post("l1.emea", f"/approvals/{request['id']}/rollback", {}, headers={"Prefer": "wait=35"})
            assert undone.status_code == 200, undone.text
        assert second.is_running()
    wait_until(lambda: partitions_of(first()) == 4, 60, "the first worker has not taken over")
    found = asyncio.run(invariants.check(changing.home))
    assert not found.problems, "\n".join(found.problems[:20])
