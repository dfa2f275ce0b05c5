"""A real broker and a real database without gateway and worker: tests write the audit stream themselves."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import TopicPartition

from ops.kafka_clients import Kafka
from ops.stack import broker, credentials, database, ports
from ops.stack.child import Spec
from ops.stack.home import Home
from ops.stack.identity import identities
from ops.stack.places import place_servers
from ops.stack.prepare import prepare
from schemas import topics
from tests.invariants.replayed import PROJECTED
from tests.unit.projector.stories import key_of, value_of

CHECKOUT = Path(__file__).parents[2]
DERIVED = [table for table in PROJECTED if not table.startswith("audit.")]


@dataclass
class Rig:
    """The servers, and the projectors started on them."""

    home: Home
    specs: dict[str, Spec]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    count: int = 0

    @property
    def owner(self) -> str:
        return self.home.database_url("owner")

    def start(self, server: str) -> None:
        """Start `kafka` or `postgres`."""
        spec = self.specs[server]
        with (self.home.logs / f"{server}.log").open("ab") as log:
            self.running[server] = subprocess.Popen(
                spec.command, env=dict(spec.environment), cwd=spec.cwd, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True, **spec.identity.popen(),
            )  # fmt: skip

    def stop(self, server: str) -> None:
        """Stop it in order, and wait for its end."""
        process = self.running.pop(server)
        process.send_signal(self.specs[server].stop_signal)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    @contextmanager
    def projector(self, broken: str = "", **environment: str) -> Iterator[Projector]:
        """A projector process; killed at the end if it still lives. `broken`: statements that break it."""
        self.count += 1
        port = ports.find_free([])
        folder = self.home.data / f"projector-{self.count}"
        folder.mkdir()
        log = self.home.logs / f"projector-{self.count}.log"
        told = self.home.environment("projector") | {
            "ATHENA_METRICS_PORT": str(port),
            "ATHENA_DATA_DIR": str(folder),
            "PYTHONPATH": str(CHECKOUT),
        }
        script = (
            "import agents.projector.app as app; from ops.settings import load_settings; "
            f"app.ProjectorApp.linger = 0.5\n{broken}\napp.run(load_settings())"
        )
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", script],
                env=os.environ | told | environment,
                stdout=out,
                stderr=out,
                cwd=CHECKOUT,
            )
        try:
            yield Projector(process, port, log)
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(10)

    def send(
        self, records: Iterable[dict[str, Any]], raw: Iterable[tuple[bytes, bytes]] = (), pause: float = 0.0
    ) -> None:
        """Append audit records (and raw key/value pairs) to the audit stream, one every so many seconds."""
        pairs = [(key_of(record), value_of(record)) for record in records]
        asyncio.run(_send(self.home.kafka, [*pairs, *raw], pause))

    def ends(self) -> dict[int, int]:
        """The end offset of each partition of the audit stream."""
        return asyncio.run(_ends(self.home.kafka))

    def query(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """Rows, as the owner."""
        return asyncio.run(_query(self.owner, sql, arguments))

    def superuser(self, sql: str) -> list[asyncpg.Record]:
        """Rows, as the superuser: for breaking things."""
        return asyncio.run(_query(self.home.database_url("superuser"), sql, ()))

    def dump(self, tables: Iterable[str] = PROJECTED) -> dict[str, list[str]]:
        """Every row of the projected tables as text, in a fixed order."""
        return {
            table: [
                row["line"] for row in self.query(f"SELECT t::text AS line FROM {table} t ORDER BY {PROJECTED[table]}")
            ]
            for table in tables
        }

    def wipe(self) -> None:
        """Forget everything that was projected, the facts included: a new database."""
        self.superuser(
            "ALTER TABLE audit.records DISABLE TRIGGER ALL; TRUNCATE audit.records, audit.personal, audit.applied_offsets, "
            + ", ".join(DERIVED)
            + "; ALTER TABLE audit.records ENABLE ALWAYS TRIGGER records_append_only; "
            "ALTER TABLE audit.records ENABLE ALWAYS TRIGGER records_no_truncate"
        )

    def wait_applied(self, seconds: float = 60) -> None:
        """Wait until all that is in the audit stream now is applied."""
        ends = self.ends()

        def applied() -> bool:
            with suppress(OSError, asyncpg.PostgresError):
                rows = self.query("SELECT partition, next_offset FROM audit.applied_offsets")
                found = {row["partition"]: row["next_offset"] for row in rows}
                return all(found.get(partition, 0) >= end for partition, end in ends.items())
            return False

        wait_until(applied, seconds, f"the projector did not reach {ends}")


@dataclass
class Projector:
    """One projector process."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def metric(self, name: str) -> float | None:
        """The sum of a metric over its labels; None while nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=2) as answer:
                text = answer.read().decode()
        except OSError:
            return None
        values = [
            float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith((name + " ", name + "{"))
        ]
        return sum(values) if values else None

    def wait_ready(self, seconds: float = 40) -> None:
        wait_until(lambda: self.metric("athena_projector_ready") == 1, seconds, f"not ready, see {self.log}")


def wait_until(holds: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Poll until `holds()`; fails with `otherwise`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{otherwise} within {seconds:.0f} s"
        time.sleep(0.1)


@contextmanager
def servers() -> Iterator[Rig]:
    """A broker and a database in a folder of their own, prepared with topics, roles and tables."""
    folder = Path(tempfile.mkdtemp(prefix="athena-rig-"))
    folder.chmod(0o755)
    home = Home(folder / "home")
    home.create()
    home.choose(partitions=4)
    ports.assign(home, ("gateway", "kafka", "kafka-controller", "postgres"), None)
    users = identities()
    place, _ = place_servers(home, users.values())
    credentials.create_missing(home)
    credentials.write_database_urls(home)
    rig = Rig(
        home,
        {
            "kafka": broker.prepare(home, place, users["kafka"]),
            "postgres": database.prepare(home, place, users["postgres"]),
        },
    )
    try:
        rig.start("kafka")
        rig.start("postgres")
        asyncio.run(prepare(home))
        yield rig
    finally:
        for name in list(rig.running):
            rig.stop(name)
        shutil.rmtree(place, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


async def _send(kafka: Kafka, pairs: list[tuple[bytes, bytes]], pause: float = 0.0) -> None:
    producer = kafka.producer(enable_idempotence=True, acks="all", linger_ms=2)
    async with asyncio.timeout(60):
        await producer.start()
        try:
            sent, due = [], time.monotonic()
            for key, value in pairs:
                due += pause
                sent.append(
                    await producer.send(topics.AUDIT, key=key, value=value, headers=[("ce_type", b"athena.audit")])
                )
                if pause:
                    # Who is late sends more at once: the rate stays.
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
            await asyncio.gather(*sent)
        finally:
            await producer.stop()


async def _ends(kafka: Kafka) -> dict[int, int]:
    consumer = kafka.consumer(topics.AUDIT, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topics.AUDIT, number) for number in consumer.partitions_for_topic(topics.AUDIT)]
        return {one.partition: end for one, end in (await consumer.end_offsets(partitions)).items()}
    finally:
        await consumer.stop()


async def _query(dsn: str, sql: str, arguments: tuple[Any, ...]) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        # Several statements at once are fine without parameters.
        if not arguments and ";" in sql:
            await connection.execute(sql, timeout=60)
            return []
        return list(await connection.fetch(sql, *arguments, timeout=60))
    finally:
        await connection.close(timeout=5)
