"""The checkpointer on a real broker: killed, frozen, doubled, and before a log that lost its tail."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from agents.checkpointer.growth import Growth
from agents.checkpointer.kept import Keeper
from agents.exits import EXIT_STALLED
from agents.fencing import FencedProducer
from ops.audit.found import Report
from ops.audit.source import KafkaSource
from ops.audit.verify import Trust, verify_at
from ops.kafka_clients import Kafka
from ops.stack import credentials
from schemas import topics
from schemas.audit import GENESIS
from schemas.checkpoints import CheckpointRecord, origin_of
from schemas.notes import VerifierKey, load_private_key
from tests.integration.projector_rig import Rig, servers, wait_until
from tests.unit.projector.stories import Story

pytestmark = pytest.mark.xdist_group("checkpointer")
#: Keys that signed beside the home's own, once a test has changed it.
FURTHER_KEYS: list[VerifierKey] = []
QUICK = {"ATHENA_CHECKPOINT_SECONDS": "0.2", "ATHENA_CHECKPOINT_RECORDS": "10"}


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """A broker and a database; each test sends requests of its own."""
    with servers() as started:
        yield started


def send(rig: Rig, numbers: range) -> int:
    """Four records for each number."""
    stories = [Story(number).submit().refused().approve().comment() for number in numbers]
    rig.send([record for story in stories for record in story.records])
    return 4 * len(stories)


def published(rig: Rig) -> list[CheckpointRecord]:
    """Every checkpoint, partition by partition."""

    async def read() -> list[CheckpointRecord]:
        source = KafkaSource(rig.home.kafka)
        try:
            return [
                CheckpointRecord.model_validate_json(record.value or b"")
                for partition in range(4)
                async for batch in source.read(topics.CHECKPOINTS, partition)
                for record in batch
            ]
        finally:
            await source.close()

    return asyncio.run(read())


def covered(rig: Rig) -> int:
    """Records under the newest checkpoints."""
    return sum({record.partition: record.size for record in published(rig)}.values())


def verified(rig: Rig) -> Report:
    async def run() -> Report:
        source = KafkaSource(rig.home.kafka)
        try:
            trust = Trust([*credentials.checkpoint_vkeys(rig.home), *FURTHER_KEYS])
            return await verify_at(rig.owner, source, None, trust)
        finally:
            await source.close()

    return asyncio.run(run())


def test_killed_at_any_moment_it_goes_on_with_the_same_tree(rig: Rig) -> None:
    """After a crash the checkpoints would accuse an honest log."""
    dice, sent = random.Random(7), covered(rig)
    for turn in range(5):
        with rig.projector(**QUICK):
            sent += send(rig, range(turn * 100, turn * 100 + 30))
            before = covered(rig)
            wait_until(lambda seen=before: covered(rig) > seen, 60, "no checkpoint was published")  # type: ignore[misc]
            time.sleep(dice.random())
    with rig.projector(**QUICK) as last:
        wait_until(lambda: last.metric("athena_checkpoint_size") == sent, 60, f"not all of {sent} records were signed")
        rig.wait_applied()
        report = verified(rig)
    assert report.first_break is None
    assert (report.records, report.uncovered) == (sent, 0)
    assert report.checkpoints == len(published(rig)) > 20


def test_one_that_was_frozen_and_comes_back_adds_nothing(rig: Rig) -> None:
    """A zombie's checkpoints would come between its successor's, and sizes would seem to shrink."""
    sent = covered(rig)
    with rig.projector(**QUICK) as frozen:
        sent += send(rig, range(1000, 1020))
        wait_until(lambda: frozen.metric("athena_checkpoint_size") == sent, 60, "the first one did not begin")
        frozen.process.send_signal(signal.SIGSTOP)
        with rig.projector(**QUICK) as successor:
            sent += send(rig, range(1020, 1060))
            wait_until(
                lambda: successor.metric("athena_checkpoint_size") == sent, 90, "the second one did not take over"
            )
            frozen.process.send_signal(signal.SIGCONT)
            sent += send(rig, range(1060, 1080))
            wait_until(lambda: covered(rig) == sent, 60, "the newest records were not signed")
            rig.wait_applied()
    report = verified(rig)
    assert (report.first_break, report.uncovered) == (None, 0)


def test_a_new_key_signs_without_a_restart_what_the_former_one_had_signed(rig: Rig) -> None:
    """A key that leaked could not be changed before the next restart; or the new one would vouch for a log it has not counted."""
    file, text = rig.home.secret("changing-key"), credentials.new_checkpoint_key()
    file.write_text(rig.home.secret(credentials.CHECKPOINT_KEY).read_text())
    sent, public = covered(rig), load_private_key(text).public_key().public_bytes_raw()
    FURTHER_KEYS.extend(VerifierKey(origin_of(rig.home.installation, number), public) for number in range(4))
    with rig.projector(**QUICK, ATHENA_CHECKPOINT_KEY_FILE=str(file)) as one:
        sent += send(rig, range(1200, 1230))
        wait_until(lambda: one.metric("athena_checkpoint_size") == sent, 60, "the former key did not sign")
        file.write_text("no key")
        file.write_text(text)
        wait_until(lambda: "key was changed" in one.log.read_text(), 60, "the new key was not taken")
        sent += send(rig, range(1230, 1260))
        new = {str(key) for key in FURTHER_KEYS}
        wait_until(lambda: {record.key for record in published(rig)} >= new, 60, "the new key does not sign")
        wait_until(lambda: covered(rig) == sent, 60, "the newest records were not signed")
        rig.wait_applied()
    report = verified(rig)
    assert (report.first_break, report.uncovered) == (None, 0)


def test_the_projector_goes_on_when_the_log_contradicts_a_checkpoint(rig: Rig) -> None:
    """A false checkpoint would stop the read side; or be signed over, so that nobody sees what is wrong."""
    sent = covered(rig)
    folder = rig.home.data / "kept"
    with rig.projector(**QUICK, ATHENA_DATA_DIR=str(folder)) as one:
        sent += send(rig, range(2000, 2040))
        wait_until(lambda: one.metric("athena_checkpoint_size") == sent, 60, "the records were not signed")
    assert Keeper(folder).read(2) == [record.note for record in published(rig) if record.partition == 2][-1]
    last = [record for record in published(rig) if record.partition == 0][-1]
    # Signed with the right key, over a record that the log does not have: as if the log had lost its tail.
    key = load_private_key(rig.home.secret(credentials.CHECKPOINT_KEY).read_text())
    false = Growth(rig.home.installation, 0, key, None, 0, 1)
    for number in range(last.size + 1):
        false.feed(last.last_offset + 1000 + number, b"lost")
    asyncio.run(_publish(rig.home.kafka, false.checkpoint("2026-11-22T09:30:00.000Z")))
    # And of another partition every checkpoint is gone, as if it were a new installation.
    asyncio.run(_remove(rig.home.kafka, 2))
    with rig.projector(**QUICK, ATHENA_DATA_DIR=str(folder)) as two:
        wait_until(lambda: two.metric("athena_checkpointer_stopped") == 2, 60, "it signs on")
        send(rig, range(2040, 2060))
        rig.wait_applied()
        assert two.metric("athena_projector_stopped") == 0
        assert "its tail is gone" in two.log.read_text()
        assert "they were removed" in two.log.read_text()
    found = verified(rig).first_break
    assert found is not None
    assert found.entity == "athena.audit/0"
    assert [record for record in published(rig) if record.partition == 0][-1].size == last.size + 1, "signed over"
    assert not [record for record in published(rig) if record.partition == 2], "signed anew"


async def _remove(kafka: Kafka, partition: int) -> None:
    admin = kafka.admin()
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(topics.CHECKPOINTS, partition): RecordsToDelete(-1)})
    finally:
        await admin.close()


async def _publish(kafka: Kafka, record: CheckpointRecord) -> None:
    producer = FencedProducer(kafka, f"{topics.CHECKPOINTER_GROUP}-0")
    await producer.claim([(topics.CHECKPOINTS, 0)])
    await producer.append(topics.CHECKPOINTS, 0, [(b"x", record.model_dump_json().encode(), [])])
    await producer.stop()


NEVER_SIGNS = """
import agents.fencing
from aiokafka.errors import TopicAuthorizationFailedError
async def refused(self, *_, **__):
    raise TopicAuthorizationFailedError("on purpose")
agents.fencing.FencedProducer.append = refused
"""
ENDS = """
import agents.checkpointer.app as checkpointer, asyncio
async def cancelled(self):
    await asyncio.sleep(1)
    raise asyncio.CancelledError
checkpointer.Checkpointer._session = cancelled
"""


def test_one_that_begins_anew_for_ever_says_since_when(rig: Rig) -> None:
    """Nothing would be signed, and the time that records wait would begin anew each time."""
    with rig.projector(NEVER_SIGNS, **QUICK) as failing:
        send(rig, range(2000, 2010))
        wait_until(
            lambda: (failing.metric("athena_checkpointer_failures_total") or 0) > 2, 90, "it does not begin anew"
        )
        seconds = failing.metric("athena_checkpointer_failing_seconds") or 0
        wait_until(
            lambda: (failing.metric("athena_checkpointer_failing_seconds") or 0) > seconds + 3, 60, "it seems to work"
        )
    sent = covered(rig)
    with rig.projector(**QUICK) as working:
        wait_until(lambda: (working.metric("athena_checkpoint_size") or 0) > sent, 60, "nothing was signed")
        assert working.metric("athena_checkpointer_failing_seconds") == 0


def test_the_projector_ends_with_it(rig: Rig) -> None:
    """Its thread would be gone, and nothing would be signed until somebody started the projector again."""
    with rig.projector(ENDS, **QUICK) as alone:
        assert alone.process.wait(60) == EXIT_STALLED


def test_an_ordinary_writer_cannot_lead_it_astray(rig: Rig) -> None:
    """Garbage on the topic would be continued."""
    asyncio.run(_garbage(rig.home.kafka))
    with rig.projector(**QUICK) as one:
        wait_until(lambda: one.metric("athena_checkpointer_stopped") == 2, 60, "it signs on")
        assert "no checkpoint at offset" in one.log.read_text()


async def _garbage(kafka: Kafka) -> Any:
    producer = kafka.producer(acks="all")
    await producer.start()
    try:
        return await producer.send_and_wait(topics.CHECKPOINTS, GENESIS.encode(), partition=1)
    finally:
        await producer.stop()
