"""Invariant 3 for the whole read side: the audit stream alone, written into an empty database, gives the same bytes."""

from __future__ import annotations

from collections import defaultdict

import asyncpg
from aiokafka import ConsumerRecord

from agents.projector.batch import Batch
from agents.projector.store import Store
from ops.postgres.migrate import migrate
from ops.stack.home import Home
from tests.invariants.found import Found

EMPTY = "replayed"
BATCH = 500
#: Every table that the projector fills, with the order that makes two dumps comparable.
PROJECTED = {
    "requests.requests": "id",
    "requests.participants": "request_id, approver_id",
    "requests.history": "request_id, version",
    "requests.votes": "request_id, level, approver_id",
    "requests.commands": "id",
    "catalog.entities": "kind, id",
    "audit.records": "entity, seq",
    "audit.personal": "entity, seq",
}


async def check_replay(home: Home, records: list[ConsumerRecord], found: Found) -> None:
    """Write the stream into a database of its own, and compare all rows. Nothing may be written to the stack meanwhile."""
    lived = home.database_url("superuser")
    empty = home.database_url("superuser", database=EMPTY)
    await _run(lived, f"DROP DATABASE IF EXISTS {EMPTY} WITH (FORCE)", f"CREATE DATABASE {EMPTY}")
    try:
        await migrate(empty)
        await _write(empty, records)
        for table, order in PROJECTED.items():
            before, after = await _rows(lived, table, order), await _rows(empty, table, order)
            for row in sorted(set(before) ^ set(after))[:5]:
                found.wrong(3, f"{table}: {'only lived' if row in set(before) else 'only replayed'}: {row[:200]}")
            if before != after and set(before) == set(after):
                found.wrong(3, f"{table} has rows twice")
    finally:
        await _run(lived, f"DROP DATABASE IF EXISTS {EMPTY} WITH (FORCE)")


async def _write(dsn: str, records: list[ConsumerRecord]) -> None:
    store = Store(dsn)
    partitions: dict[int, list[ConsumerRecord]] = defaultdict(list)
    for record in records:
        partitions[record.partition].append(record)
    try:
        await store.offsets(list(partitions))
        at = dict.fromkeys(partitions, 0)
        # A chain lies in one partition, so the order between partitions does not count.
        for partition, found in partitions.items():
            for begin in range(0, len(found), BATCH):
                part = found[begin : begin + BATCH]
                batch = Batch()
                batch.extend(partition, at[partition], part, part[-1].offset + 1)
                assert (await store.write(batch)).held
                at[partition] = part[-1].offset + 1
    finally:
        await store.close()


async def _rows(dsn: str, table: str, order: str) -> list[str]:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        rows = await connection.fetch(f"SELECT t::text AS row FROM {table} t ORDER BY {order}", timeout=120)
        return [row["row"] for row in rows]
    finally:
        await connection.close(timeout=5)


async def _run(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        for statement in statements:
            await connection.execute(statement, timeout=60)
    finally:
        await connection.close(timeout=5)
