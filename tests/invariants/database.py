"""Invariants 2, 3, 6 and 7 for PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import asyncpg
import orjson

from ops.stack.home import Home
from schemas import topics
from schemas.state import RequestState
from schemas.view import request_view
from tests.invariants.found import Found
from tests.invariants.log import Log, read


async def check_database(dsn: str, log: Log, states: Mapping[str, RequestState], found: Found) -> None:
    """2, 3, 6, 7 for PostgreSQL: the same requests, byte for byte, the same versions, the same chains."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        rows = await connection.fetch("SELECT id::text AS id, version, document FROM requests.requests", timeout=120)
        history = await connection.fetch(
            "SELECT request_id::text AS id, array_agg(version ORDER BY version) AS versions FROM requests.history GROUP BY 1",
            timeout=120,
        )
        chains = await connection.fetch("SELECT entity, seq, hash FROM audit.records", timeout=120)
    finally:
        await connection.close(timeout=5)
    shown = {row["id"]: row for row in rows}
    for id_ in set(shown) - set(states):
        found.wrong(7, f"request {id_} is in the database, and not in the log")
    for id_, state in states.items():
        row = shown.get(id_)
        if row is None:
            found.wrong(3, f"request {id_} is not in the database")
        elif row["document"].encode() != orjson.dumps(request_view(state)):
            found.wrong(
                3,
                f"request {id_}: the database's document (version {row['version']}) is not the log's ({state.version})",
            )
    versions = {row["id"]: list(row["versions"]) for row in history}
    for id_, state in states.items():
        if versions.get(id_) != list(range(1, state.version + 1)):
            found.wrong(2, f"request {id_}: the database's history is not 1 to {state.version}")
    stored = {(row["entity"], row["seq"]): row["hash"] for row in chains}
    for place in set(stored) - set(log.audit):
        found.wrong(7, f"{place} is in the database's audit, and not in the log")
    for place, record in log.audit.items():
        if stored.get(place) != record["hash"]:
            found.wrong(6, f"{place} is not in the database's audit as in the log")


async def caught_up(home: Home, seconds: float = 60.0) -> None:
    """Wait until the read side has applied all that is in the audit stream now. Raises TimeoutError."""
    ends: dict[int, int] = {}
    for record in await read(home.kafka, topics.AUDIT):
        ends[record.partition] = max(ends.get(record.partition, 0), record.offset + 1)
    async with asyncio.timeout(seconds):
        connection = await asyncpg.connect(home.endpoints()["postgres"], timeout=10)
        try:
            while True:
                rows = await connection.fetch("SELECT partition, next_offset FROM audit.applied_offsets", timeout=10)
                applied = {row["partition"]: row["next_offset"] for row in rows}
                if all(applied.get(partition, 0) >= end for partition, end in ends.items()):
                    return
                await asyncio.sleep(0.2)
        finally:
            await connection.close(timeout=5)
