"""Verifies the audit log: PostgreSQL's chains, the log beside them, and the signed checkpoints of the log.

All of PostgreSQL is read in one snapshot. Where reading the checkpoints and the log ends is settled before and after that, so that
the log holds at least what the others speak of. Kept in memory are some thousand records at a time, whatever the log's length.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ops.audit import rows
from ops.audit.found import Broken, Report, place
from ops.audit.merge import Merge, merge, missing
from ops.audit.source import LogRecord, Source, fix_ends
from ops.audit.walk import REQUEST, walk
from ops.audit.witness import Witness
from ops.postgres.clients import connect
from schemas import topics
from schemas.checkpoints import Checkpoint, partition_of
from schemas.notes import VerifierKey

CONNECT_TIME_OUT = 10.0
Tick = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose checkpoints are believed, and older ones to hold the log against. Without keys no checkpoint is looked at."""

    keys: Collection[VerifierKey] = ()
    kept: Sequence[Checkpoint] = ()


def _quiet(_what: str, _records: int) -> None:
    return


async def verify_at(dsn: str, source: Source, request_id: str | None, trust: Trust, tick: Tick = _quiet) -> Report:
    """As `verify`, with a connection of its own.

    Raises:
        StackError, OSError, TimeoutError, asyncpg.PostgresError: the log or PostgreSQL cannot be reached.
    """
    connection = await connect(dsn, timeout=CONNECT_TIME_OUT)
    try:
        return await verify(connection, source, request_id, trust, tick)
    finally:
        await connection.close(timeout=5)


async def verify(
    connection: Any,
    source: Source,
    request_id: str | None,
    trust: Trust,
    tick: Tick = _quiet,
    tail: int | None = None,
) -> Report:
    """Verify everything, or one request. `tick(what, records)` reports progress; `tail`: of one request's partition, how
    many records behind its newest one are looked through for more of it (None: all).

    Raises:
        StackError, OSError, TimeoutError, asyncpg.PostgresError: the log or PostgreSQL cannot be reached.
    """
    report = Report()
    partitions = await source.partitions()
    if trust.keys:
        await fix_ends(source, topics.CHECKPOINTS, partitions)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(f"SET LOCAL statement_timeout = '{int(rows.STATEMENT_TIME_OUT)}s'")
        applied, known = await _applied(connection, partitions)
        await fix_ends(source, topics.AUDIT, partitions)
        entity = None if request_id is None else REQUEST + request_id.lower()
        try:
            await walk(connection, report, applied, entity, lambda number: tick("PostgreSQL", number))
            if entity is not None:
                await _one(connection, source, report, entity, partitions, (applied, known), tick, tail)
                return report
            elsewhere = await rows.fetch(connection, rows.ELSEWHERE, partitions)
            for row in elsewhere:
                why = f"PostgreSQL: the record names partition {row['partition']}, which the log does not have"
                raise Broken(row["entity"], row["seq"], why)
            for partition in partitions:
                await _partition(connection, source, report, partition, (applied, known), trust, tick)
            for one in trust.kept:
                if partition_of(one.origin) not in partitions:
                    raise Broken(one.origin, one.size, "log: it has no such partition, but a checkpoint of it was kept")
        except Broken as found:
            report.first_break = found
    return report


async def _applied(connection: Any, partitions: list[int]) -> tuple[dict[int, int], dict[int, int]]:
    """Per partition: the offset before which the read side is whole, and the one before which PostgreSQL must have all records."""
    found = await rows.fetch(connection, rows.APPLIED, partitions)
    applied = {row["partition"]: row["applied"] or 0 for row in found}
    return applied, {row["partition"]: max(row["applied"] or 0, row["known"] or 0) for row in found}


async def _partition(
    connection: Any,
    source: Source,
    report: Report,
    partition: int,
    offsets: tuple[dict[int, int], dict[int, int]],
    trust: Trust,
    tick: Tick,
) -> None:
    """One partition: its rows, its log, its checkpoints. Raises Broken."""
    applied, known = offsets
    kept = [one for one in trust.kept if partition_of(one.origin) == partition]
    witness = Witness(partition, trust.keys, kept) if trust.keys else None
    merging = Merge(connection, partition, known.get(partition, 0), applied.get(partition, 0), report, witness)
    published = source.read(topics.CHECKPOINTS, partition)
    waiting: list[LogRecord] = []
    counted = 0

    async def ahead(number: int) -> None:
        nonlocal counted, waiting
        counted += number
        while witness is not None and witness.published < counted:
            if not waiting:
                waiting = await anext(published, [])
                if not waiting:
                    return
            witness.publish(waiting.pop(0))

    stored = rows.batches(connection, rows.BY_OFFSET, partition)
    log = source.read(topics.AUDIT, partition)
    await merge(merging, log, stored, ahead, lambda number: tick(place(partition), number))
    if witness is not None:
        witness.log_ended()
        # Whatever was signed over more than there is, too.
        await ahead(1 << 62)
        witness.end()
        report.checkpoints += witness.verified
        report.uncovered += witness.tree.size - witness.published


async def _one(
    connection: Any,
    source: Source,
    report: Report,
    entity: str,
    partitions: list[int],
    offsets: tuple[dict[int, int], dict[int, int]],
    tick: Tick,
    tail: int | None,
) -> None:
    """One request's records in the log: those that PostgreSQL names, where it names them, and whether more follow.

    Raises:
        Broken: the first record that is not as it must be.
    """
    applied, known = offsets
    stored = [row async for batch in rows.batches(connection, rows.BY_CHAIN, entity) for row in batch]
    key = entity.removeprefix(REQUEST).encode()
    partition = stored[-1]["partition"] if stored else partition_for(key, len(partitions))
    for row in stored:
        if row["partition"] not in partitions or row["partition"] != partition:
            raise Broken(
                entity, row["seq"], f"PostgreSQL: the record names partition {row['partition']}, not {partition}"
            )
    for before, row in itertools.pairwise(stored):
        if row["log_offset"] <= before["log_offset"]:
            raise Broken(
                entity, row["seq"], f"PostgreSQL: offset {row['log_offset']} is not after {before['log_offset']}"
            )
    merging = Merge(connection, partition, known.get(partition, 0), applied.get(partition, 0), report, None)
    by_offset = {row["log_offset"]: row for row in stored}
    found = await source.pick(topics.AUDIT, partition, list(by_offset))
    for offset, row in by_offset.items():
        if offset not in found:
            raise missing(row)
    await merging.step([found[offset] for offset in by_offset], by_offset)
    tick(place(partition), len(found))
    since = stored[-1]["log_offset"] + 1 if stored else 0
    if tail is not None and not stored:
        since = await source.end(topics.AUDIT, partition) - tail
    passed = 0
    async with contextlib.aclosing(source.read(topics.AUDIT, partition, since)) as behind:
        async for batch in behind:
            await merging.step([record for record in batch if record.key == key], {})
            tick(place(partition), len(batch))
            passed += len(batch)
            if tail is not None and passed >= tail:
                break


def partition_for(key: bytes, partitions: int) -> int:
    """Kafka's default partitioner."""
    from aiokafka.partitioner import murmur2  # noqa: PLC0415 - only for a request that PostgreSQL does not know

    return int((murmur2(key) & 0x7FFFFFFF) % partitions)
