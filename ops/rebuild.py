"""`athena projector rebuild`: empties what is derived and lets the running projector write it again from the log.

`audit.records` stays: it holds facts. The projector reads them again, compares, and stops at any difference.
"""

# ruff: noqa: T201 - a command prints

from __future__ import annotations

import asyncio
import sys
import time

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ops.settings import Settings
from ops.stack.errors import StackError
from ops.stack.home import Home
from schemas import topics

CONNECT_TIME_OUT = 10.0
#: Seconds for the tables' locks in all, and in one try: the projector writes to them meanwhile.
LOCK_TIME_OUT = 60.0
LOCK_TRY = "2s"
#: Seconds without progress after which it gives up waiting; the rebuild goes on when the projector does.
STALL_LIMIT = 90.0
POLL = 1.0
#: The last offsets of a partition may be markers that nobody is given.
MARKERS = 3

_EMPTY = f"""
SET LOCAL lock_timeout = '{LOCK_TRY}';
LOCK TABLE audit.applied_offsets IN ACCESS EXCLUSIVE MODE;
TRUNCATE requests.requests, requests.participants, requests.history, requests.votes, requests.commands, catalog.entities;
UPDATE audit.applied_offsets SET next_offset = 0;
"""  # noqa: S608 - a constant


def run(home: Home) -> int:
    """Rebuild the read side of the stack in `home`. Exit code 0 caught up, 1 the projector does not, 3 cannot reach it."""
    try:
        owner = home.database_url("owner")
        kafka = home.kafka
    except StackError as error:
        print(error, file=sys.stderr)
        return 3
    try:
        return asyncio.run(rebuild(kafka, owner))
    except (OSError, TimeoutError, KafkaError, asyncpg.PostgresError) as error:
        print(f"Kafka or PostgreSQL cannot be reached: {error!r}. See: athena status", file=sys.stderr)
        return 3


def run_settings(settings: Settings) -> int:
    """As `run`, for an installation without a home: the settings name the brokers and the owner's database URL."""
    return asyncio.run(rebuild(settings.kafka_bootstrap, settings.database_url.get_secret_value()))


async def rebuild(kafka: str, dsn: str) -> int:
    """Empty, then wait until the projector has applied all that was in the log at the beginning."""
    connection = await asyncpg.connect(dsn, timeout=CONNECT_TIME_OUT)
    try:
        async with asyncio.timeout(CONNECT_TIME_OUT * 3):
            ends = await _end_offsets(kafka)
        await empty(connection)
        _say("The read side is empty; the projector writes it again.")
        return await _wait(connection, ends)
    finally:
        await connection.close(timeout=5)


async def empty(connection: asyncpg.Connection) -> None:
    """Empty the derived tables and set the offsets to 0, in one transaction, as the owner.

    Raises:
        TimeoutError: the locks were not to be had within 60 s.
    """
    deadline = time.monotonic() + LOCK_TIME_OUT
    while True:
        try:
            async with connection.transaction():
                await connection.execute(_EMPTY, timeout=LOCK_TIME_OUT)
            return
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the tables are locked by others for over {LOCK_TIME_OUT:.0f} s") from error
            await asyncio.sleep(0.2)


async def _wait(connection: asyncpg.Connection, ends: dict[int, int]) -> int:
    total = sum(ends.values())
    best, best_at = -1, time.monotonic()
    while True:
        rows = await connection.fetch(
            "SELECT partition, next_offset FROM audit.applied_offsets", timeout=CONNECT_TIME_OUT
        )
        applied = {row["partition"]: row["next_offset"] for row in rows}
        done = sum(min(applied.get(partition, 0), end) for partition, end in ends.items())
        still = time.monotonic() - best_at
        if done > best:
            best, best_at = done, time.monotonic()
            _say(f"applied {done} of {total}")
        missing = max((end - applied.get(partition, 0) for partition, end in ends.items()), default=0)
        if missing <= 0 or (missing <= MARKERS and still > 5 * POLL):
            _say("The read side is complete.")
            return 0
        if still > STALL_LIMIT:
            _say(
                f"No progress for {STALL_LIMIT:.0f} s at {done} of {total}. Is the projector running? See: athena status"
            )
            return 1
        await asyncio.sleep(POLL)


async def _end_offsets(kafka: str) -> dict[int, int]:
    consumer = AIOKafkaConsumer(topics.AUDIT, bootstrap_servers=kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [
            TopicPartition(topics.AUDIT, number) for number in consumer.partitions_for_topic(topics.AUDIT) or ()
        ]
        ends = await consumer.end_offsets(partitions)
        return {partition.partition: end for partition, end in ends.items()}
    finally:
        await consumer.stop()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
