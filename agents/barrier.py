"""The order that keeps every promise: decide, changelog acknowledged, local store, outputs acknowledged, then the offset."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from agents.ports import BatchFull, Busy, Effects, Incoming, Log, NotYet, Shard, Store
from agents.topology import INDEXES

#: Waits until reference data up to an offset is there. Raises if it does not come.
CaughtUp = Callable[[int], Awaitable[None]]
#: What a record that found its shard busy waits for.
Work = Callable[[], Awaitable[None]]


async def process(
    shard: Shard, batch: Sequence[Incoming], log: Log, stores: Mapping[str, Store], caught_up: CaughtUp
) -> None:
    """Work through a batch of one shard. On return everything it caused is acknowledged, and its offsets may be committed.

    Any exception leaves the shard's memory ahead of its log: the process must end without committing.
    """
    while batch:
        done, work = await process_until_busy(shard, batch, log, stores, caught_up)
        if work is not None:
            await work()
        batch = batch[done:]


async def process_until_busy(
    shard: Shard, batch: Sequence[Incoming], log: Log, stores: Mapping[str, Store], caught_up: CaughtUp
) -> tuple[int, Work | None]:
    """As `process`, up to the first record that needs work to be done elsewhere: (records that are done, the work)."""
    done = 0
    while done < len(batch):
        effects = Effects()
        waits_for: int | None = None
        work: Work | None = None
        try:
            while done < len(batch):
                shard.handle(batch[done], effects)
                done += 1
        except NotYet as not_yet:
            waits_for = not_yet.offset
        except Busy as busy:
            work = busy.work
        except BatchFull:
            pass
        await commit(effects, log, stores)
        if done:
            shard.settled(batch[done - 1].offset + 1)
        if work is not None:
            return done, work
        if waits_for is not None:
            await caught_up(waits_for)
    return done, None


async def commit(effects: Effects, log: Log, stores: Mapping[str, Store]) -> None:
    """State first, acknowledged; then the local store; then outputs, acknowledged."""
    # Everything becomes bytes before anything is written. In the order of `stores`: chains come before requests there: a
    # refusal of a request that the same batch goes on to make is then either on record, or both are decided again.
    rows = {table: effects.rows(table) for table in stores if effects.writes.get(table)}
    for stage in _stages(rows):
        for table, reached in (await log.write_tables({table: rows[table] for table in stage})).items():
            stores[table].apply(rows[table], reached)
    if effects.outputs:
        await log.write_outputs(effects.outputs)


def _stages(tables: Iterable[str]) -> list[list[str]]:
    """What is written one after the other; an index is written with the table before it."""
    stages: list[list[str]] = []
    for table in tables:
        if table in INDEXES and stages:
            stages[-1].append(table)
        else:
            stages.append([table])
    return stages
