"""Cursors while many write: nobody who follows misses or doubles anything, however late a transaction commits.

`python -m tests.feed.soundness [--updates 50000] [--writers 8] [--readers 20] [--seed 1]`: each writer is a projector's connection
with a partition of its own, which writes the projector's own statement and commits late, or not at all and again; each reader
pages with the endpoints' own statements. Exit code 0: everybody has at the end what there is, and nothing came twice.
"""

# ruff: noqa: T201 - a command prints

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from agents.projector.batch import Batch
from agents.projector.ports import judge
from agents.projector.store import _SESSION, STATEMENT
from gateway.feed import bookmarks
from gateway.sql import changes, updates
from gateway.sql.database import Database
from tests.integration.projector_rig import Rig, servers
from tests.unit.projector.stories import Story, value_of

#: Longest wait before a commit, in seconds; in 100 transactions so many are rolled back and written again.
SLOWEST = 0.06
ROLLED_BACK = 5
PEOPLE = ("l1.a", "l1.b", "l2.a", "l2.b", "l3.a")
OWNER = "sam.sales"


@dataclass
class Record:
    """As aiokafka hands it over."""

    offset: int
    value: bytes
    headers: list[tuple[str, bytes]] = field(default_factory=list)


@dataclass
class Ground:
    """What is written, by partition; what everybody must have at the end: version by request."""

    partitions: dict[int, list[Record]]
    updates: int
    expected: dict[str, dict[str, int]]


def prepared(seed: int, wanted: int, writers: int) -> Ground:
    """Lives of requests, interleaved within each partition, with gaps between offsets."""
    rng = random.Random(seed)
    lives: dict[int, list[list[dict[str, Any]]]] = {number: [] for number in range(writers)}
    expected: dict[str, dict[str, int]] = {who: {} for who in (OWNER, *PEOPLE)}
    count = number = 0
    while count < wanted:
        story = _life(Story(seed * 10_000_000 + number).submit(), rng)
        count += sum(record["outcome"] == "accepted" for record in story.records)
        lives[number % writers].append(story.records)
        number += 1
        assert story.state is not None
        expected[OWNER][story.id] = story.state.version
        deciders = {
            r["actor_id"] for r in story.records if r["action"] in ("approve", "reject") and r["outcome"] == "accepted"
        }
        level = story.state.open_level
        waiting = set() if level is None else set(level.approvers) - {vote.approver_id for vote in level.votes}
        for who in (deciders | waiting) & set(PEOPLE):
            expected[who][story.id] = story.state.version
    partitions = {}
    for partition, found in lives.items():
        offset, rows = 0, []
        for record in _interleaved(found, rng):
            offset += 1 + (rng.random() < 0.1)
            rows.append(Record(offset, value_of(record)))
        partitions[partition] = rows
    return Ground(partitions, count, expected)


def _life(story: Story, rng: random.Random) -> Story:
    """What may happen to a request, from a submission on."""
    for _ in range(rng.randint(0, 9)):
        assert story.state is not None
        if story.state.open_level is None:
            return story.close() if rng.random() < 0.5 else story.rollback()
        match rng.randint(0, 5):
            case 0:
                story.comment()
            case 1:
                story.reject(rng.choice(story.state.open_level.approvers))
            case 2 if story.state.newest_decision is not None:
                story.rollback()
            case 3 if story.state.open_level.level == "L1":
                story.reassign("L1", tuple(rng.sample(("l1.a", "l1.b", "l1.c"), 2)))
            case _:
                story.approve(rng.choice(story.state.open_level.approvers))
    return story


def _interleaved(lives: list[list[dict[str, Any]]], rng: random.Random) -> list[dict[str, Any]]:
    """Up to 40 lives at a time, each in its order."""
    waiting, running, made = [list(reversed(one)) for one in reversed(lives)], [], []
    while waiting or running:
        while waiting and len(running) < 40:
            running.append(waiting.pop())
        one = rng.choice(running)
        made.append(one.pop())
        if not one:
            running.remove(one)
    return made


class Reader:
    """`has`: version by request; `times`: how often each version came; `pages` that it took."""

    def __init__(self, who: str, kind: str, seed: int) -> None:
        self.who, self.kind = who, kind
        self.has: dict[str, int] = {}
        self.times: Counter[tuple[str, int]] = Counter()
        self.backwards = 0
        self.pages = 0
        self._vector: dict[int, int] = {}
        self._rng = random.Random(seed)

    async def follow(self, database: Database, written: asyncio.Event) -> None:
        """Page until all is written and read."""
        while True:
            over = written.is_set()
            if not await self._page(database) and over:
                return
            await asyncio.sleep(self._rng.random() * 0.03)

    async def _page(self, database: Database) -> bool:
        """One page; whether there are more."""
        limit = self._rng.choice((1, 3, 20, 50, 200))
        self.pages += 1
        if self.kind == "events":
            everything = await changes.since(database, self._vector, limit)
            for row in everything.rows:
                if row.newest:
                    self._took(row.id, row.document)
            self._go(everything.applied, everything.last)
            return everything.last is not None
        if self.kind == "approvals":
            found = await updates.approvals(database, self.who, (self.who,), self._vector, limit, told=False)
        else:
            found = await updates.own(database, self.who, self._vector, limit)
        applied = found.applied
        if self.kind == "unsound":
            # The mistake that this program is for: how far it is, from a later look than the rows.
            await asyncio.sleep(0.005)
            applied = await updates.applied(database)
        for one in found.rows:
            if one.document is None:
                self.has.pop(one.id, None)
            else:
                self._took(one.id, one.document)
        self._go(applied, found.last)
        return found.last is not None

    def _took(self, id_: str, document: str) -> None:
        version = int(document.partition('"version":')[2].partition(",")[0])
        self.times[id_, version] += 1
        self.backwards += version < self.has.get(id_, 0)
        self.has[id_] = version

    def _go(self, applied: dict[int, int], last: tuple[int, int] | None) -> None:
        self._vector = applied if last is None else bookmarks.cut(self._vector, applied, *last)

    def wrong(self, expected: dict[str, int]) -> tuple[int, int, int]:
        """How many requests it misses or has without being theirs or at another version, versions that came twice, steps back."""
        missed = sum(self.has.get(id_) != version for id_, version in expected.items())
        missed += sum(id_ not in expected for id_ in self.has)
        return missed, sum(count > 1 for count in self.times.values()), self.backwards


async def write(dsn: str, partition: int, records: list[Record], seed: int) -> Counter[str]:
    """One projector's partition, in batches, each committed late."""
    rng, counts, at, done = random.Random(seed), Counter[str](), 0, 0
    connection = await asyncpg.connect(dsn, server_settings=_SESSION)
    try:
        statement = await connection.prepare(STATEMENT)
        while done < len(records):
            part = records[done : done + rng.choice((1, 2, 5, 12, 30))]
            batch = Batch()
            batch.extend(partition, at, part, part[-1].offset + 1)
            transaction = connection.transaction()
            await transaction.start()
            assert judge(await statement.fetchrow(*batch.columns())).held
            await asyncio.sleep(rng.random() * SLOWEST * (rng.random() < 0.5))
            counts["transactions"] += 1
            if rng.randint(1, 100) <= ROLLED_BACK:
                await transaction.rollback()
                counts["rolled back"] += 1
                continue
            await transaction.commit()
            at, done = part[-1].offset + 1, done + len(part)
    finally:
        await connection.close()
    return counts


async def run(rig: Rig, ground: Ground, readers: list[Reader], seed: int) -> Counter[str]:
    """Write and read at the same time; what the writers did."""
    await _begin(rig, ground)
    dsn = rig.home.database_url("projector")
    database = Database(rig.home.database_url("gateway"))
    await database.start()
    written = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            for reader in readers:
                group.create_task(reader.follow(database, written))
            counts = await asyncio.gather(*(write(dsn, p, rows, seed + p) for p, rows in ground.partitions.items()))
            written.set()
    finally:
        await database.stop()
    return sum(counts, Counter[str]())


async def _begin(rig: Rig, ground: Ground) -> None:
    connection = await asyncpg.connect(rig.owner)
    try:
        rows = [(partition,) for partition in ground.partitions]
        await connection.executemany("INSERT INTO audit.applied_offsets VALUES ($1, 0) ON CONFLICT DO NOTHING", rows)
    finally:
        await connection.close()


def crowd(count: int, seed: int) -> list[Reader]:
    """Readers of every kind."""
    kinds = [("own", OWNER), *(("approvals", who) for who in PEOPLE), ("events", OWNER)]
    return [
        Reader(who, kind, seed * 1000 + number) for number in range(count) for kind, who in [kinds[number % len(kinds)]]
    ]


def main() -> int:
    """The long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=50_000)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--readers", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with servers() as rig:
        ground = prepared(asked.seed, asked.updates, asked.writers)
        readers = crowd(asked.readers, asked.seed)
        began = time.monotonic()
        counts = asyncio.run(run(rig, ground, readers, asked.seed))
        seconds = time.monotonic() - began
    wrong = [reader.wrong(ground.expected[reader.who]) for reader in readers]
    total = [sum(column) for column in zip(*wrong, strict=True)]
    given = sum(sum(reader.times.values()) for reader in readers)
    print(
        f"{ground.updates} updates of {len(ground.expected[OWNER])} requests by {asked.writers} writers, "
        f"{counts['transactions']} transactions ({counts['rolled back']} rolled back and written again), {seconds:.0f} s\n"
        f"{len(readers)} readers took {sum(reader.pages for reader in readers)} pages with {given} rows\n"
        f"missed or wrong: {total[0]}, came twice: {total[1]}, went back: {total[2]}"
    )
    return 1 if any(total) else 0


if __name__ == "__main__":
    sys.exit(main())
