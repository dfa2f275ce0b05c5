"""`athena projector rebuild`: writes the read side anew from the log, beside the one that serves, and swaps them.

Reads go on from the old tables until the new ones are at least as far; the projector goes on, too. Nothing of it shows before
the swap, so a rebuild that is killed has changed nothing. `audit.records` stays: it holds facts, and is compared.
"""

# ruff: noqa: T201 - a command prints

from __future__ import annotations

import asyncio
import contextlib
import sys
import time

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from agents.projector.batch import Batch
from agents.projector.ports import Unavailable
from agents.projector.record import Poison
from agents.projector.store import Store
from ops import shadow
from ops.kafka_clients import Kafka
from ops.log_reader import partitions_of
from ops.postgres.clients import connect
from ops.stack.errors import StackError
from ops.stack.home import Home
from schemas import topics

CONNECT_TIME_OUT = 10.0
#: Records in one transaction: bounds memory.
POLL_RECORDS = 1_000
#: Seconds without a record although the end is not reached.
STALL_LIMIT = 60.0
PROGRESS_SECONDS = 2.0
#: Before the swap the new tables are brought this close, measured as seconds that the rest takes.
CLOSE_SECONDS = 1.0
#: Seconds for the swap in all; for the locks of one try; and for what is still to be applied while the projector waits.
SWAP_TIME_OUT = 120.0
LOCK_TRY = "2s"
LAST_RECORDS_TIME_OUT = 10.0
#: Any constant of our own: one rebuild at a time per database.
LOCK = 0x617468656E62


class Refused(Exception):
    """The read side cannot be rebuilt; it is as it was. The text says why."""


def run(home: Home) -> int:
    """Rebuild the read side of the stack in `home`.

    Exit code 0 done, 1 the log or a stored fact is wrong, or another rebuild runs (nothing was changed), 3 cannot reach Kafka or
    PostgreSQL.
    """
    try:
        owner, kafka = home.database_url("owner"), home.kafka
        asyncio.run(rebuild(kafka, owner))
    except Refused as refused:
        _say(f"The read side is as it was. {refused}")
        return 1
    except (
        StackError,
        OSError,
        TimeoutError,
        KafkaError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        Unavailable,
    ) as error:
        _say(f"The read side is as it was: {error or repr(error)}. See: athena status")
        return 3
    return 0


async def rebuild(kafka: Kafka, dsn: str) -> None:
    """Write the derived tables anew, and put them in the place of the old ones.

    Raises:
        Refused: the log or a stored fact is wrong, or another rebuild runs.
        OSError, TimeoutError, KafkaError, PostgresError, Unavailable: a server did not answer.
    """
    connection = await connect(dsn, timeout=CONNECT_TIME_OUT)
    try:
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
            raise Refused("Another rebuild runs. Wait for its end.")
        await shadow.drop(connection)
        try:
            await _rebuild(kafka, dsn, connection)
        finally:
            # Only here: without the lock these would be another rebuild's.
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await shadow.drop(connection)
    finally:
        await connection.close(timeout=5)


async def _rebuild(kafka: Kafka, dsn: str, connection: asyncpg.Connection) -> None:
    async with _reading(kafka) as consumer:
        tables = await shadow.create(connection, [tp.partition for tp in consumer.assignment()])
        writer = _Writer(consumer, Store(dsn, shadow.statement(tables), shadow.APPLIED))
        try:
            await _fill(writer)
            await shadow.analyze(connection, tables)
            await _swap(connection, writer, tables)
        finally:
            await writer.store.close()
    _say("The read side is complete.")


class _Writer:
    """Applies the audit stream from its beginning to the new tables. `next` is where each partition is to be read."""

    def __init__(self, consumer: AIOKafkaConsumer, store: Store) -> None:
        self.store = store
        self.next: dict[TopicPartition, int] = dict.fromkeys(consumer.assignment(), 0)
        self._consumer = consumer
        self._began = self._said = time.monotonic()

    async def ends(self) -> dict[TopicPartition, int]:
        """Where the log ends now."""
        found: dict[TopicPartition, int] = await self._consumer.end_offsets(list(self.next))
        return found

    async def apply_to(self, ends: dict[TopicPartition, int]) -> None:
        """Apply until every partition is at `ends` or beyond. Raises Refused, TimeoutError when no record comes for 60 s."""
        moved = time.monotonic()
        while any(self.next[tp] < end for tp, end in ends.items()):
            found = await self._consumer.getmany(timeout_ms=500, max_records=POLL_RECORDS)
            batch = Batch()
            for tp, start in self.next.items():
                # The position is past control records, which nobody is given.
                position = max(start, await self._consumer.position(tp))
                if position > start:
                    _extend(batch, tp.partition, start, found.get(tp, []), position)
            if batch.nexts:
                await self._write(batch)
                moved = time.monotonic()
            elif time.monotonic() - moved > STALL_LIMIT:
                raise TimeoutError(f"Kafka gave nothing of {topics.AUDIT} for {STALL_LIMIT:.0f} s")
            self._progress(sum(self.next.values()), sum(ends.values()))

    async def _write(self, batch: Batch) -> None:
        try:
            verdict = await self.store.write(batch)
        except Poison as poison:
            raise Refused(f"{poison.why} (at or after offsets {batch.starts} of {topics.AUDIT})") from poison
        if not verdict.held:
            raise Refused("Somebody else writes to the new tables.")
        self.next.update({tp: batch.nexts[tp.partition] for tp in self.next if tp.partition in batch.nexts})

    def _progress(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._said < PROGRESS_SECONDS and done < total:
            return
        self._said = now
        rate = done / max(now - self._began, 0.001)
        left = f", {max(0, total - done) / rate:.0f} s left" if rate and done < total else ""
        _say(f"applied {done} of {total} records ({rate:.0f}/s{left})")


def _extend(batch: Batch, partition: int, start: int, records: list[object], position: int) -> None:
    try:
        batch.extend(partition, start, records, position)
    except Poison as poison:
        raise Refused(f"{poison.why} ({topics.AUDIT}[{poison.partition}]@{poison.offset})") from poison


async def _fill(writer: _Writer) -> None:
    """Until what is still missing can be applied in about a second."""
    while True:
        began = time.monotonic()
        await writer.apply_to(await writer.ends())
        if time.monotonic() - began < CLOSE_SECONDS:
            return


async def _swap(connection: asyncpg.Connection, writer: _Writer, tables: list[shadow.Table]) -> None:
    """In one transaction: the projector waits, the new tables reach where the old ones are, and take their place."""
    deadline = time.monotonic() + SWAP_TIME_OUT
    while True:
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TRY}'")
                await connection.execute("LOCK TABLE audit.applied_offsets IN EXCLUSIVE MODE")
                rows = await connection.fetch("SELECT partition, next_offset FROM audit.applied_offsets")
                live = {TopicPartition(topics.AUDIT, row["partition"]): row["next_offset"] for row in rows}
                async with asyncio.timeout(LAST_RECORDS_TIME_OUT):
                    # Else a reader who was shown a version would be shown an earlier one.
                    await writer.apply_to({tp: live.get(tp, 0) for tp in writer.next})
                await shadow.swap(connection, tables)
            return
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, TimeoutError) as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the tables are locked by others for over {SWAP_TIME_OUT:.0f} s") from error
            await asyncio.sleep(0.2)
            await _fill(writer)


@contextlib.asynccontextmanager
async def _reading(kafka: Kafka):  # type: ignore[no-untyped-def]
    """A consumer at the beginning of every partition of the audit stream."""
    consumer = kafka.consumer(enable_auto_commit=False, auto_offset_reset="none")
    try:
        async with asyncio.timeout(CONNECT_TIME_OUT * 3):
            await consumer.start()
            assigned = [TopicPartition(topics.AUDIT, number) for number in await partitions_of(consumer, topics.AUDIT)]
            consumer.assign(assigned)
            begins = await consumer.beginning_offsets(assigned)
        lost = {tp.partition: offset for tp, offset in begins.items() if offset > 0}
        if lost:
            raise Refused(f"{topics.AUDIT} does not begin at offset 0 any more (partition: first offset {lost}).")
        for tp in assigned:
            consumer.seek(tp, 0)
        yield consumer
    finally:
        await consumer.stop()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
