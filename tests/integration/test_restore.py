"""The restore of a local table from its changelog, on the real broker: what a log can hold, and what can go wrong."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.admin.records_to_delete import RecordsToDelete

from agents.fencing import FencedProducer, Rows
from agents.kafka_log import FENCE_KEY
from agents.requests import REQUESTS
from agents.restore import Changelog, Restore
from agents.rocks import LocalCopy, RocksStore
from agents.worker import create
from ops.kafka_clients import Kafka
from ops.settings import Settings
from tests.stack import Stack

TIME_OUT = 90.0
#: More than are written at once, in several fetches' worth of chunks.
MANY = 6000


def within(work: Coroutine[Any, Any, Any]) -> Any:
    async def run() -> Any:
        async with asyncio.timeout(TIME_OUT):
            return await work

    return asyncio.run(run())


class Table:
    """A table of requests in a folder of its own, followed from a changelog of its own with one partition."""

    def __init__(self, kafka: Kafka, folder: Path, topic: str) -> None:
        self.kafka, self.topic = kafka, topic
        folder.mkdir(exist_ok=True)
        self.app = create(Settings(kafka_bootstrap=kafka.bootstrap, partitions=1, data_dir=folder))
        self.table = self.app.tables[REQUESTS]
        self.copy = LocalCopy(self.table, 0)

    def restore(self, copy: Any = None) -> Restore:
        return Restore(self.kafka, [Changelog(self.topic, 0, copy or self.copy)])

    def rows(self) -> dict[bytes, bytes]:
        return dict(RocksStore(self.table, 0).scan())

    async def close(self) -> None:
        await self.table.data.stop()


async def new_topic(kafka: Kafka) -> str:
    name = f"test-restore-{uuid.uuid4()}"
    admin = kafka.admin()
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, 1, topic_configs={"cleanup.policy": "compact,delete"})])
    finally:
        await admin.close()
    return name


async def append(kafka: Kafka, topic: str, *batches: Rows, claims: int = 1) -> None:
    """Each batch by an owner of its own: claiming leaves a control record before it, and so a gap between the offsets."""
    for rows in batches:
        for _ in range(claims):
            owner = FencedProducer(kafka, topic)
            await owner.claim([(topic, 0)])
            if _ < claims - 1:
                await owner.stop()
        if rows:
            await owner.append(topic, 0, rows)
        await owner.stop()


async def end_of(kafka: Kafka, topic: str) -> int:
    consumer = kafka.consumer()
    await consumer.start()
    try:
        return int((await consumer.end_offsets([TopicPartition(topic, 0)]))[TopicPartition(topic, 0)])
    finally:
        await consumer.stop()


def many(first: int = 0) -> Rows:
    return [(b"%06d" % number, b"value of %06d " % number * 20, []) for number in range(first, first + MANY)]


def as_dict(*batches: Rows) -> dict[bytes | None, bytes | None]:
    return {key: value for rows in batches for key, value, _ in rows}


def test_newest_values_tombstones_and_gaps_up_to_a_control_record_at_the_end(stack: Stack, tmp_path: Path) -> None:
    """Otherwise a recovered worker would decide from old states, or wait for ever for a record that nobody can read."""

    async def run() -> None:
        topic = await new_topic(stack.kafka)
        await append(stack.kafka, topic, [(b"a", b"1", []), (b"b", b"1", []), (FENCE_KEY, b"me", [])])
        await append(stack.kafka, topic, [(b"a", b"2", []), (b"b", None, []), (b"c", b"1", [])], claims=3)
        await append(stack.kafka, topic, [])
        table = Table(stack.kafka, tmp_path / "data", topic)
        assert await table.restore().run()
        assert table.rows() == {b"a": b"2", b"c": b"1"}
        assert table.copy.applied() == await end_of(stack.kafka, topic) - 1
        again = table.restore()
        assert await again.run() and again.records == 0
        await append(stack.kafka, topic, [(b"d", b"1", [])])
        later = table.restore()
        assert await later.run() and later.records == 1
        assert table.rows() == {b"a": b"2", b"c": b"1", b"d": b"1"}
        await table.close()

    within(run())


@pytest.mark.parametrize("how", ["ahead", "cut"])
def test_a_store_that_does_not_fit_its_changelog_is_read_anew(stack: Stack, tmp_path: Path, how: str) -> None:
    """Otherwise a topic that was made anew, or cut, would leave requests that exist nowhere else, or miss some."""

    async def run() -> None:
        topic = await new_topic(stack.kafka)
        table = Table(stack.kafka, tmp_path / "data", topic)
        await append(stack.kafka, topic, [(b"a", b"1", []), (b"b", b"1", [])])
        table.copy.load([(b"stranger", b"1")], 1_000_000 if how == "ahead" else 0)
        if how == "cut":
            admin = stack.kafka.admin()
            await admin.start()
            last = await end_of(stack.kafka, topic) - 1
            await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(last)})
            await admin.close()
        assert await table.restore().run()
        assert table.rows() == ({b"a": b"1", b"b": b"1"} if how == "ahead" else {b"b": b"1"})
        await table.close()

    within(run())


class Watched:
    """A copy that calls `then` after each write."""

    def __init__(self, copy: LocalCopy, then: Any) -> None:
        self._copy, self._then = copy, then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._copy, name)

    def load(self, rows: Iterable[tuple[bytes, bytes | None]], reached: int) -> None:
        self._copy.load(rows, reached)
        self._then()


def test_a_restore_that_is_stopped_goes_on_where_it_was(stack: Stack, tmp_path: Path) -> None:
    """Otherwise every rebalance would begin a long restore again, and it might never end."""

    async def run() -> None:
        topic = await new_topic(stack.kafka)
        await append(stack.kafka, topic, many())
        table = Table(stack.kafka, tmp_path / "data", topic)
        first: Restore

        def stop() -> None:
            first.stop()

        first = table.restore(Watched(table.copy, stop))
        assert not await first.run()
        reached = table.copy.applied()
        assert reached is not None and 0 < len(table.rows()) < MANY
        # The partition is written past the bulk from now on: what the bulk wrote must be in files before.
        await table.close()
        table = Table(stack.kafka, tmp_path / "data", topic)
        assert table.copy.applied() == reached
        held = len(table.rows())
        rest = table.restore()
        assert await rest.run() and rest.records == MANY - held
        assert table.rows() == as_dict(many())
        await table.close()

    within(run())


CRASHING = """
import asyncio, os, sys
from pathlib import Path
from ops.stack.home import Home
from tests.integration.test_restore import Table, Watched
left = int(sys.argv[4])
def count():
    global left
    left -= 1
    if left == 0:
        os._exit(9)
async def run():
    table = Table(Home(sys.argv[1]).kafka, Path(sys.argv[2]), sys.argv[3])
    await table.restore(Watched(table.copy, count)).run()
asyncio.run(run())
"""


def test_a_process_that_dies_in_a_restore_has_no_offset_ahead_of_its_rows(stack: Stack, tmp_path: Path) -> None:
    """Otherwise a second crash, during recovery, would lose requests for good."""

    async def run() -> None:
        topic = await new_topic(stack.kafka)
        await append(stack.kafka, topic, many())
        for writes in (1, 5):
            crashed = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-c", CRASHING, str(stack.home.path), str(tmp_path / "data"), topic, str(writes)],
                check=False,
                timeout=60,
            )
            assert crashed.returncode == 9
            table = Table(stack.kafka, tmp_path / "data", topic)
            applied = table.copy.applied()
            assert len(table.rows()) == (0 if applied is None else applied + 1 - 2)
            await table.close()
        table = Table(stack.kafka, tmp_path / "data", topic)
        assert await table.restore().run()
        assert table.rows() == as_dict(many())
        await table.close()

    within(run())


def test_a_write_that_fails_ends_the_restore_with_its_error(stack: Stack, tmp_path: Path) -> None:
    """Faust only logs it: the worker would decide from tables that are not whole."""

    async def run() -> None:
        topic = await new_topic(stack.kafka)
        await append(stack.kafka, topic, many())
        table = Table(stack.kafka, tmp_path / "data", topic)

        def full() -> None:
            raise OSError("no space left on device")

        with pytest.raises(OSError, match="no space"):
            await table.restore(Watched(table.copy, full)).run()
        assert await table.restore().run()
        assert table.rows() == as_dict(many())
        await table.close()

    within(run())


def test_a_damaged_store_is_read_anew(stack: Stack, tmp_path: Path) -> None:
    """Otherwise one bad file would keep a worker from starting until somebody finds out which folder to delete."""

    async def run() -> None:
        topic = await new_topic(stack.kafka)
        await append(stack.kafka, topic, many())
        table = Table(stack.kafka, tmp_path / "data", topic)
        assert await table.restore().run()
        await table.close()
        for manifest in RocksStore(table.table, 0).path().glob("MANIFEST-*"):
            await table.close()
            manifest.write_bytes(b"not a manifest" * 10)
        table = Table(stack.kafka, tmp_path / "data", topic)
        assert table.copy.applied() is None
        assert await table.restore().run()
        assert table.rows() == as_dict(many())
        await table.close()

    within(run())
