"""Finds one request's records in the log and their inclusion proofs: one pass over its partition, in bounded memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import orjson

from ops.audit.found import Broken, place
from ops.audit.source import LogRecord, Source
from ops.audit.verify import partition_for
from ops.stack.errors import StackError
from schemas import topics
from schemas.checkpoints import Checkpoint, CheckpointRecord, leaf, opened, partition_of
from schemas.merkle import Prover
from schemas.notes import VerifierKey

POLL = 1.0
#: Records of one request that go into one file: a request has at most 1,000 events, and refusals besides.
LARGEST = 100_000


@dataclass(frozen=True, slots=True)
class Found:
    """The records of a chain (leaf index, value, audit path), the checkpoint over them, and how many came after it."""

    note: str
    checkpoint: Checkpoint
    records: list[tuple[int, bytes, list[bytes]]]
    uncovered: int


async def find(
    source_of: Callable[[], Source],
    request_id: str,
    keys: Collection[VerifierKey],
    wait: float,
    tick: Callable[[str, int], None],
) -> Found:
    """The proofs of `request:<request_id>`; waits up to `wait` seconds for a checkpoint over its newest records.

    `source_of` gives a new source, which sees the log as it is then.

    Raises:
        Broken: the log is not the one that the checkpoint was signed over, or has no such request.
        StackError: there is no checkpoint yet, or Kafka cannot be reached.
    """
    key = request_id.encode()
    deadline = time.monotonic() + wait
    while True:
        source = source_of()
        try:
            partition = partition_for(key, len(await source.partitions()))
            newest = await newest_of(source, partition)
            behind = 0 if newest is None else newest.last_offset + 1
            uncovered = 0
            async for batch in source.read(topics.AUDIT, partition, behind):
                uncovered += sum(record.key == key for record in batch)
            if uncovered == 0 or time.monotonic() > deadline:
                return await _prove(source, partition, f"request:{request_id}", newest, keys, uncovered, tick)
        finally:
            await source.close()
        tick(f"{uncovered} records wait for a checkpoint", 0)
        await asyncio.sleep(POLL)


async def newest_of(source: Source, partition: int) -> CheckpointRecord | None:
    """The last checkpoint; looked for from the end of the topic."""
    end = await source.end(topics.CHECKPOINTS, partition)
    look = 16
    while True:
        since, last = max(0, end - look), None
        async for batch in source.read(topics.CHECKPOINTS, partition, since):
            last = batch[-1]
        if last is not None:
            return CheckpointRecord.model_validate_json(last.value or b"")
        if since == 0:
            return None
        look *= 8


async def _prove(
    source: Source,
    partition: int,
    entity: str,
    newest: CheckpointRecord | None,
    keys: Collection[VerifierKey],
    uncovered: int,
    tick: Callable[[str, int], None],
) -> Found:
    if newest is None:
        raise StackError(
            f"There is no checkpoint of {place(partition)} yet. Does the projector run? See: athena status"
        )
    checkpoint = opened(newest.note, keys)
    if partition_of(checkpoint.origin) != partition or checkpoint.size != newest.size:
        raise Broken(place(partition), newest.size, f"the newest checkpoint published for it is of {checkpoint.origin}")
    if (moved := newest.moved(checkpoint)) is not None:
        raise Broken(place(partition), newest.size, f"the newest checkpoint: {moved}")
    prover = Prover()
    values: dict[int, bytes] = {}
    seen: set[int] = set()
    async for batch in source.read(topics.AUDIT, partition):
        records = [record for record in batch if record.offset <= newest.last_offset]
        await asyncio.to_thread(_count, prover, records, entity, values, seen)
        tick(place(partition), len(records))
        if len(records) < len(batch):
            break
    if (prover.size, prover.root()) != (checkpoint.size, checkpoint.root):
        why = f"log: it is not the one that the checkpoint of {checkpoint.size} records was signed over. Run: athena audit verify"
        raise Broken(place(partition), prover.size, why)
    if not values:
        raise Broken(entity, 0, "the log has no record of it" + (" under a checkpoint yet" if uncovered else ""))
    proofs = prover.proofs()
    return Found(newest.note, checkpoint, [(index, value, proofs[index]) for index, value in values.items()], uncovered)


def _count(prover: Prover, records: list[LogRecord], entity: str, values: dict[int, bytes], seen: set[int]) -> None:
    """Grow the tree by these records; those of the chain are kept, each at its first place."""
    key = entity.removeprefix("request:").encode()
    for record in records:
        wanted = False
        if record.key == key and record.value is not None:
            try:
                body = orjson.loads(record.value)
                wanted = body["entity"] == entity and body["seq"] not in seen
            except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                why = f"log: the record at offset {record.offset} is no audit record. Run: athena audit verify"
                raise Broken(entity, 0, why) from error
        if wanted:
            if len(values) >= LARGEST:
                raise StackError(f"{entity} has over {LARGEST} records: too many for one file")
            seen.add(body["seq"])
            values[prover.size] = record.value or b""
        prover.append(leaf(record.value), wanted)
