"""The projector as a process, on a real broker and a real database."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from itertools import chain as concatenate
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.exits import EXIT_STALLED
from agents.fetching import Gate
from agents.projector.app import EXIT_CRASHED
from schemas import topics
from tests.integration.projector_rig import Rig, servers, wait_until
from tests.unit.projector.stories import Chain, Story, reference

pytestmark = pytest.mark.xdist_group("projector")


@pytest.fixture(scope="module")
def prepared() -> Iterator[Rig]:
    with servers() as rig:
        yield rig


@pytest.fixture
def rig(prepared: Rig) -> Rig:
    """The module's servers with an empty read side. The audit stream keeps what earlier tests wrote."""
    prepared.wipe()
    return prepared


NUMBERS = iter(range(1, 1_000_000))


def stories(count: int) -> list[dict[str, Any]]:
    """Records of so many requests with every kind of turn, interleaved."""
    made = []
    for number in range(count):
        story = Story(next(NUMBERS)).submit()
        match number % 5:
            case 0:
                story.approve().refused().approve().comment().approve().close()
            case 1:
                story.approve().rollback().approve("l1.b").reject().close()
            case 2:
                story.comment().reassign("L1", ("l1.b", "l1.c")).approve("l1.c").refused("already-voted")
            case 3:
                story.approve().approve().rollback().rollback().reject()
            case _:
                story.refused()
        made.append(story.records)
    longest = max(len(records) for records in made)
    return [records[step] for step in range(longest) for records in made if step < len(records)]


def test_a_busy_stream_is_written_in_few_batches(rig: Rig) -> None:
    """Else the fixed cost of a batch is paid for every handful of records."""
    records = stories(250)
    with rig.projector() as projector:
        projector.wait_ready()
        rig.wait_applied()
        before = projector.metric("athena_projector_batches_total") or 0
        rig.send(records, pause=0.002)
        rig.wait_applied()
        batches = (projector.metric("athena_projector_batches_total") or 0) - before
    assert len(records) / batches > 10, f"{batches} batches of {len(records)} records"


def test_a_poll_brings_all_that_has_come_since_the_one_before(rig: Rig) -> None:
    """Else a projector that waits between polls gets the first of it, and readers see the rest a whole wait later."""
    asyncio.run(_polled_after_a_wait(rig, list(rig.ends())))


async def _polled_after_a_wait(rig: Rig, partitions: list[int]) -> None:
    consumer = rig.home.kafka.consumer(enable_auto_commit=False)
    assigned = [TopicPartition(topics.AUDIT, partition) for partition in partitions]
    await consumer.start()
    try:
        gate = Gate(consumer._fetcher)
        consumer.assign(assigned)
        await consumer.seek_to_end(*assigned)
        first, *others = Story(next(NUMBERS)).submit().approve().approve().records
        await asyncio.to_thread(rig.send, [first])
        assert await _poll(consumer, gate) == [first]
        for record in others:
            # Long enough for an answer to a question that was asked at once.
            await asyncio.sleep(0.3)
            await asyncio.to_thread(rig.send, [record])
        assert len(others) == 2
        assert await _poll(consumer, gate) == others
    finally:
        await consumer.stop()


async def _poll(consumer: AIOKafkaConsumer, gate: Gate) -> list[dict[str, Any]]:
    with gate.opened():
        polled = await consumer.getmany(timeout_ms=10_000)
    return [json.loads(record.value) for records in polled.values() for record in records]


def test_a_new_database_is_filled_from_the_log_with_the_same_bytes(rig: Rig) -> None:
    """Else a lost read side could not be had again, and readers would see another history."""
    chain = Chain("assignment:travel-l1-x")
    entities = [
        reference("assignment", "travel-l1-x", {"version": 1, "level": "L1"}, chain),
        reference("assignment", "travel-l1-x", None, chain),
        reference("assignment", "travel-l1-x", {"version": 1, "level": "L2"}, chain),
        reference("rules", "7", {"version": 7, "yaml": "x: 1"}, Chain("rules:rules")),
    ]
    with rig.projector() as one:
        one.wait_ready()
        # Slowly, so that there are many small batches.
        records = [*entities, *stories(60)]
        for start in range(0, len(records), 25):
            rig.send(records[start : start + 25])
        rig.wait_applied()
    first = rig.dump()
    assert len(first["requests.requests"]) >= 60
    assert any("L2" in line for line in first["catalog.entities"])
    rig.wipe()
    with rig.projector() as two:
        # At once: few big batches.
        rig.wait_applied()
        batches = two.metric("athena_projector_batches_total")
    assert rig.dump() == first
    assert batches is not None and batches < 20


#: Of each: what goes wrong, as statements that run before the projector does. Its watchdog waits for seconds here, not minutes.
DEAF = {
    "polls bring nothing any more": """
import agents.fetching, agents.watchdog, asyncio, time
agents.watchdog.Watchdog.__init__.__defaults__ = (4.0, 60.0)
fetched, began = agents.fetching.GatedConsumerThread._fetch_records, time.monotonic()
async def nothing(self, consumer, *a, **k):
    if time.monotonic() - began < 3:
        return await fetched(self, consumer, *a, **k)
    await asyncio.sleep(1)
    return {}
agents.fetching.GatedConsumerThread._fetch_records = nothing
""",
    "the group is not joined": """
import aiokafka.consumer.group_coordinator as group, agents.watchdog, asyncio
agents.watchdog.Watchdog.__init__.__defaults__ = (60.0, 8.0)
async def never(self, *_):
    await asyncio.sleep(3600)
group.GroupCoordinator._do_rejoin_group = never
""",
    "the group has failed": """
import aiokafka.consumer.group_coordinator as group
from aiokafka.errors import UnknownError
joined = group.GroupCoordinator._on_join_complete
async def failed(self, *a, **k):
    await joined(self, *a, **k)
    self._pending_exception = UnknownError("on purpose")
group.GroupCoordinator._on_join_complete = failed
""",
    "its thread hangs": """
import agents.watchdog, agents.projector.consumer as consumer, asyncio
agents.watchdog.Watchdog.__init__.__defaults__ = (60.0, 4.0)
app.LOOK_TIME_OUT = consumer.LOOK_TIME_OUT = 0.5
async def never(self, *_):
    await asyncio.sleep(3600)
consumer.PollConsumer._look = never
""",
}


@pytest.mark.parametrize("what", DEAF)
def test_a_projector_that_hears_of_nothing_ends(rig: Rig, what: str) -> None:
    """Else what users read would stay as it is, for ever, and no alert would tell: to itself it looks as if nothing came."""
    with rig.projector(DEAF[what]) as projector:
        wait_until(lambda: projector.metric("athena_projector_ready") is not None, 40, f"not up, see {projector.log}")
        time.sleep(4)
        rig.send(stories(5))
        assert projector.process.wait(60) in (EXIT_STALLED, EXIT_CRASHED)


SOON = """
import aiokafka
made = aiokafka.AIOKafkaConsumer.__init__
def hurried(self, *a, max_poll_interval_ms=300_000, **k):
    made(self, *a, max_poll_interval_ms=max_poll_interval_ms // 250, **k)
aiokafka.AIOKafkaConsumer.__init__ = hurried
"""


def test_an_outage_of_the_database_is_no_reason_to_leave_the_group(rig: Rig) -> None:
    """Else a projector that had a poll in hand meanwhile would never read again. What aiokafka waits for is shortened here."""
    with rig.projector(SOON) as projector:
        projector.wait_ready()
        rig.stop("postgres")
        try:
            rig.send(stories(5))
            time.sleep(12)
        finally:
            rig.start("postgres")
        rig.send(stories(5))
        rig.wait_applied(30)
        rig.send(stories(5))
        rig.wait_applied(30)
        assert projector.process.poll() is None


def test_records_that_come_again_change_nothing(rig: Rig) -> None:
    """Else a worker that crashed between sending and committing would double what users see."""
    records = stories(20)
    with rig.projector():
        rig.send(records)
        rig.wait_applied()
        before = rig.dump()
        rig.send(records[5:40])
        rig.send(reversed(records))
        rig.wait_applied()
        assert rig.dump() == before


def test_a_kill_at_any_moment_loses_and_doubles_nothing(rig: Rig) -> None:
    """Else the lists would miss requests after every crash."""
    records = stories(400)
    for part in range(4):
        with rig.projector() as one:
            one.wait_ready()
            rig.send(records[part * len(records) // 4 : (part + 1) * len(records) // 4])
            time.sleep(0.02 * part)
            os.kill(one.process.pid, signal.SIGKILL)
    with rig.projector():
        rig.wait_applied()
        crashed = rig.dump()
    rig.wipe()
    with rig.projector():
        rig.wait_applied()
    assert rig.dump() == crashed


def test_postgresql_may_be_away(rig: Rig) -> None:
    """Else a restart of the database would need somebody to mend the read side."""
    with rig.projector() as one:
        one.wait_ready()
        rig.stop("postgres")
        try:
            rig.send(stories(50))
            wait_until(lambda: one.metric("athena_projector_ready") == 0, 20, "still ready without a database")
            time.sleep(3)
        finally:
            rig.start("postgres")
        rig.wait_applied(60)
        one.wait_ready()
        assert one.process.poll() is None


def test_two_projectors_share_and_take_over(rig: Rig) -> None:
    """Else scaling out, or a frozen process coming back, would write twice or not at all."""
    records = stories(300)
    thirds = [
        records[: len(records) // 3],
        records[len(records) // 3 : 2 * len(records) // 3],
        records[2 * len(records) // 3 :],
    ]
    with rig.projector() as one, rig.projector() as two:
        one.wait_ready()
        two.wait_ready()
        rig.send(thirds[0])
        rig.wait_applied()
        # One freezes in the middle; the other takes its partitions after the session's time.
        os.kill(one.process.pid, signal.SIGSTOP)
        rig.send(thirds[1])
        rig.wait_applied(60)
        os.kill(one.process.pid, signal.SIGCONT)
        rig.send(thirds[2])
        rig.wait_applied(60)
        shared = rig.dump()
        assert two.process.poll() is None
    rig.wipe()
    with rig.projector():
        rig.wait_applied()
    assert rig.dump() == shared


class TestStops:
    """Each with servers of its own: what stops a projector stays in the log."""

    @pytest.fixture
    def rig(self) -> Iterator[Rig]:
        with servers() as rig:
            yield rig

    def test_at_a_gap_and_at_garbage_and_says_so(self, rig: Rig) -> None:
        """Else an audit record could be missing from the read side without anybody knowing."""
        story = Story(next(NUMBERS)).submit().approve().approve()
        others = stories(5)
        with rig.projector() as one:
            one.wait_ready()
            rig.send(concatenate(others, [story.records[0], story.records[2]]))
            assert one.process.wait(40) == 70
            assert "critical" in one.log.read_text() and "gap" in one.log.read_text()
        # A supervisor starts it again: it stops again, and has not skipped.
        with rig.projector() as two:
            assert two.process.wait(40) == 70
        rows = rig.query(
            "SELECT max(version) AS version FROM requests.history WHERE request_id = $1::text::uuid", story.id
        )
        assert rows[0]["version"] in (None, 1)

    def test_at_garbage_after_writing_what_came_before(self, rig: Rig) -> None:
        """Else one bad record would also hide the good ones before it."""
        story = Story(next(NUMBERS)).submit()
        with rig.projector() as one:
            one.wait_ready()
            rig.send(story.records, raw=[(story.id.encode(), b"not json")])
            assert one.process.wait(40) == 70
        assert rig.query("SELECT version FROM requests.requests")[0]["version"] == 1

    def test_when_a_fact_differs_from_the_one_applied(self, rig: Rig) -> None:
        """Else somebody who changed a stored audit row could have it confirmed by a rebuild."""
        from ops.audit.commands import verify  # noqa: PLC0415

        story = Story(next(NUMBERS)).submit().approve()
        with rig.projector():
            rig.send(story.records)
            rig.wait_applied()
            assert verify(rig.home, None, None, None, None, True) == 0
        rig.superuser(
            "ALTER TABLE audit.records DISABLE TRIGGER ALL; UPDATE audit.records SET event = '{}', content = 'x' WHERE seq = 2;"
            "UPDATE audit.applied_offsets SET next_offset = 0"
        )
        assert verify(rig.home, None, None, None, None, True) == 1
        with rig.projector() as two:
            assert two.process.wait(40) == 70
            assert "other contents" in two.log.read_text()

    def test_when_the_log_has_lost_records(self, rig: Rig) -> None:
        """Else the read side would stay ahead of the log for ever."""
        rig.superuser("INSERT INTO audit.applied_offsets SELECT generate_series(0, 3), 1000; SELECT 1")
        with rig.projector() as one:
            assert one.process.wait(40) == 70
            assert "has lost records" in one.log.read_text()
