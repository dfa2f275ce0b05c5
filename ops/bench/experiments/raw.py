"""What each step could cost at best: the bare libraries on this machine, with records and rows of the product's sizes.

CPU ms for each record, in this process (`client`) and in the server; what it burns while nothing is asked of it is taken off.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import rocksdict
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic

from ops.bench.cost import cpu_seconds, own_seconds
from ops.bench.experiments.options import Options
from ops.bench.reference.serving import serving
from ops.bench.result import Cell, Result, Table
from ops.bench.running import bench_stack, say, server_processes
from ops.postgres.clients import connect
from ops.stack.home import Home

BATCHES = (1, 16, 500)
#: Bytes of a record and of a row: about those of a command, an audit record, a request's row.
RECORD_BYTES, ROW_BYTES = 1_000, 1_200
LANES = 32
_IDLE_SECONDS = 2.0
COLUMNS = ["step", "batch", "client ms/record", "server ms/record", "wall ms/batch"]


class Clock:
    """CPU of this process and of one server over a span."""

    def __init__(self, server: int | None) -> None:
        self._server = {} if server is None else {"server": server}
        self._idle = 0.0

    async def settle(self) -> None:
        """Measure what the server burns by itself."""
        if self._server:
            before = self._read()
            await asyncio.sleep(_IDLE_SECONDS)
            self._idle = (self._read() - before) / _IDLE_SECONDS

    def _read(self) -> float:
        return sum(cpu_seconds(self._server).values())

    async def row(self, step: str, batch: int, batches: int, work: Callable[[int], Awaitable[Any]]) -> list[Cell]:
        """`await work(n)` so often; each handles `batch` records."""
        server, client, began = self._read(), own_seconds(), time.perf_counter()
        for number in range(batches):
            await work(number)
        seconds = time.perf_counter() - began
        records = batch * batches
        there = max(0.0, self._read() - server - self._idle * seconds)
        mine = own_seconds() - client
        return [
            step, batch, round(1000 * mine / records, 4),
            round(1000 * there / records, 4) if self._server else None, round(1000 * seconds / batches, 3),
        ]  # fmt: skip


def run(options: Options) -> Result:
    """Kafka, PostgreSQL, RocksDB, HTTP."""
    seconds = options.pick(0.4, 4.0)
    with bench_stack(options.home, rules=False) as home:
        rows = asyncio.run(_on(home, seconds))
    rows += asyncio.run(_rocks(seconds))
    with serving("ops.bench.reference.fixed:app") as (base, pid):
        rows += asyncio.run(_http(base, pid, seconds))
    note = f"Records of {RECORD_BYTES} bytes, rows of {ROW_BYTES}; idempotent, acks=all; one batch under way."
    return Result([Table("The bare steps", COLUMNS, rows, note)], notes=[(__doc__ or "").partition("\n\n")[2].strip()])


async def _batches(step: Callable[[int], Awaitable[Any]], seconds: float) -> int:
    """How many of these fit into the time, after a warm-up."""
    for number in range(3):
        await step(-1 - number)
    began = time.perf_counter()
    await step(-4)
    return max(5, min(5_000, int(seconds / max(1e-6, time.perf_counter() - began))))


async def _on(home: Home, seconds: float) -> list[list[Cell]]:
    roots = server_processes(home)
    rows: list[list[Cell]] = []
    say("raw: Kafka")
    clock = Clock(roots["kafka"])
    await clock.settle()
    topic = f"bench-{uuid.uuid4().hex[:8]}"
    admin = home.kafka.admin()
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
        rows += await _produce(home, topic, clock, seconds)
        rows += await _fetch(home, topic, clock)
        await admin.delete_topics([topic])
    finally:
        await admin.close()
    say("raw: PostgreSQL")
    clock = Clock(roots["postgres"])
    await clock.settle()
    return rows + await _postgres(home, clock, seconds)


async def _produce(home: Home, topic: str, clock: Clock, seconds: float) -> list[list[Cell]]:
    producer = home.kafka.producer(
        enable_idempotence=True, acks="all", max_batch_size=900_000, max_request_size=4 << 20
    )
    await producer.start()
    value = os.urandom(RECORD_BYTES)
    rows = []
    try:
        for batch in BATCHES:

            async def one(number: int, batch: int = batch) -> None:
                made = producer.create_batch()
                for record in range(batch):
                    made.append(timestamp=None, key=b"%d" % record, value=value, headers=[])
                await (await producer.send_batch(made, topic, partition=0))

            rows.append(await clock.row("aiokafka: produce", batch, await _batches(one, seconds), one))
    finally:
        await producer.stop()
    return rows


async def _fetch(home: Home, topic: str, clock: Clock) -> list[list[Cell]]:
    """What was produced, read back: whole fetches, as large as the broker gives them."""
    consumer = home.kafka.consumer(enable_auto_commit=False)
    await consumer.start()
    partition = TopicPartition(topic, 0)
    read = 0
    try:
        consumer.assign([partition])
        consumer.seek(partition, 0)
        wanted = (await consumer.end_offsets([partition]))[partition]

        async def all_of_it(_: int) -> None:
            nonlocal read
            while read < wanted:
                for records in (await consumer.getmany(timeout_ms=500, max_records=500)).values():
                    read += len(records)

        return [await clock.row("aiokafka: fetch (polls of up to 500)", wanted, 1, all_of_it)]
    finally:
        await consumer.stop()


async def _postgres(home: Home, clock: Clock, seconds: float) -> list[list[Cell]]:
    database = await connect(str(home.endpoints()["postgres"]), timeout=30)
    rows = []
    text = "x" * ROW_BYTES
    try:
        await database.execute("SET synchronous_commit = off")
        await database.execute(
            "CREATE TABLE public.bench_rows (id uuid PRIMARY KEY, version int NOT NULL, document text NOT NULL)"
        )
        insert = "INSERT INTO public.bench_rows SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[]) ON CONFLICT (id) DO NOTHING"
        prepared = await database.prepare(insert)
        for batch in BATCHES:

            async def unnest(_: int, batch: int = batch) -> None:
                await prepared.fetch([uuid.uuid4() for _ in range(batch)], [1] * batch, [text] * batch)

            async def copy(_: int, batch: int = batch) -> None:
                records = [(uuid.uuid4(), 1, text) for _ in range(batch)]
                await database.copy_records_to_table("bench_rows", schema_name="public", records=records)

            rows.append(await clock.row("PostgreSQL: INSERT … unnest", batch, await _batches(unnest, seconds), unnest))
            rows.append(await clock.row("PostgreSQL: COPY", batch, await _batches(copy, seconds), copy))
    finally:
        await database.execute("DROP TABLE IF EXISTS public.bench_rows")
        await database.close()
    return rows


async def _rocks(seconds: float) -> list[list[Cell]]:
    say("raw: RocksDB")
    folder = Path(tempfile.mkdtemp(prefix="athena-bench-"))
    made = rocksdict.Options(raw_mode=True)
    made.create_if_missing(True)
    made.set_compression_type(rocksdict.DBCompressionType.lz4())
    database = rocksdict.Rdict(str(folder / "db"), options=made)
    value = os.urandom(RECORD_BYTES)
    rows = []
    try:
        for batch in BATCHES:

            async def write(_: int, batch: int = batch) -> None:
                together = rocksdict.WriteBatch(raw_mode=True)
                for _ in range(batch):
                    together.put(uuid.uuid4().bytes, value)
                database.write(together)

            rows.append(await Clock(None).row("RocksDB: write batch", batch, await _batches(write, seconds), write))
    finally:
        database.close()
        shutil.rmtree(folder, ignore_errors=True)
    return rows


async def _http(base: str, pid: int, seconds: float) -> list[list[Cell]]:
    say("raw: HTTP")
    clock = Clock(pid)
    await clock.settle()
    body = b"x" * 512
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def post() -> None:
            async with session.post(base + "/", data=body) as answer:
                await answer.read()

        async def one(_: int) -> None:
            await post()

        async def many(_: int) -> None:
            await asyncio.gather(*(post() for _ in range(LANES)))

        return [
            await clock.row("uvicorn + httptools: a POST, one at a time", 1, await _batches(one, seconds), one),
            await clock.row(f"uvicorn + httptools: POSTs, {LANES} at once", LANES, await _batches(many, seconds), many),
        ]
