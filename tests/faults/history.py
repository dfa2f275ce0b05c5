"""A long history, made quickly: records of as many requests as wanted, straight into the worker's changelogs.

A few hundred stories are decided by the real `RequestShard`, with the stack's own reference data and rules. Every other request
is a copy of one of them with ids of its own, in the partition where Kafka's partitioner puts it: mostly finalized, 5 % pending,
3 % with a rollback window that is open for a day. The audit stream and the read side know nothing of them.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import time
import uuid
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka.partitioner import murmur2

from agents.barrier import process
from agents.ports import Incoming, Output
from agents.requests import REQUESTS, WINDOWS, RequestShard
from agents.rules_in_force import RulesInForce
from agents.topology import TABLES
from ops.kafka_clients import Kafka
from ops.reference import ReferenceFollower
from schemas import topics
from schemas.catalog import Catalog
from schemas.commands import SYSTEM, Approve, CloseWindow, CommandBase, Reject, Rollback, SubmitRequest
from schemas.state import RequestState
from tables.record import Record

DAY_MS = 24 * 3600 * 1000
STORIES = 400
#: Offsets in `athena.commands` that the stories' commands claim to have; the real ones must lie beyond.
OFFSETS = 24
#: Requests whose versions are written before the next ones begin: in a real log a request's versions lie apart.
ROUND = 4000
BATCH_BYTES = 900_000
UUID_TEXT = 36
TEXT = (
    "team offsite travel to the customer workshop in Lisbon with two nights and a train ticket for the quarterly review of "
    "licences laptops monitors training material booth rental catering print samples courier insurance deposit"
)
WORDS = TEXT.split()
AMOUNTS = ("120.00", "980.00", "2500.00", "75000.00")
REQUESTERS = ("sam.sales", "sue.sales", "ana.sales")
#: Share of each end of a story, in percent.
ENDS = {"finalized": 80, "closed": 12, "open": 3, "pending": 5}


@dataclass
class Rows:
    """A dictionary as a store, which is what one story leaves; `written` is every write in order."""

    rows: dict[bytes, bytes] = field(default_factory=dict)
    written: list[tuple[bytes, bytes | None]] = field(default_factory=list)

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def apply(self, writes: Mapping[bytes, bytes | None], changelog_offset: int) -> None:
        self.written += writes.items()
        self.rows |= {key: row for key, row in writes.items() if row is not None}

    def scan(self, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted((key, row) for key, row in self.rows.items() if key >= start))


class Nowhere:
    """A log that takes everything at once."""

    async def write_tables(self, writes: Mapping[str, Mapping[bytes, bytes | None]]) -> Mapping[str, int]:
        return dict.fromkeys(writes, 0)

    async def write_outputs(self, outputs: Sequence[Output]) -> None:
        """Nobody reads the outputs of a story."""


@dataclass(frozen=True)
class Template:
    """One story: each version's bytes as (fixed part, number of the id after it) pairs; the rows of the window index likewise."""

    end: str
    voter: str | None
    ids: int
    versions: tuple[tuple[tuple[bytes, int], ...], ...]
    windows: tuple[tuple[bytes, bytes | None], ...]


@dataclass(frozen=True)
class Sample:
    """A request that was filled in; `voter` may approve it where it is pending."""

    request_id: str
    partition: int
    value: bytes
    voter: str | None


@dataclass
class Filled:
    """What was written."""

    requests: int = 0
    records: int = 0
    changelog_bytes: int = 0
    newest_bytes: int = 0
    seconds: float = 0.0
    samples: list[Sample] = field(default_factory=list)


class Story:
    """Decides the commands of one request with the real shard, and keeps every version of its record."""

    def __init__(self, catalog: Catalog, rules: RulesInForce, dice: random.Random, began_ms: int) -> None:
        self._dice = dice
        self._at = began_ms
        self._offset = -1
        self._stores: dict[str, Rows] = {name: Rows() for name in TABLES[topics.COMMANDS]}
        self.request_id = str(uuid.UUID(int=dice.getrandbits(128), version=4))
        self.ids = [self.request_id]
        # Each command comes long after the one before was committed.
        self._shard = RequestShard(0, self._stores, catalog, rules, 0, OFFSETS, lambda _: False)

    @property
    def versions(self) -> list[bytes]:
        return [row for _, row in self._stores[REQUESTS].written if row is not None]

    @property
    def windows(self) -> list[tuple[bytes, bytes | None]]:
        return self._stores[WINDOWS].written

    @property
    def state(self) -> RequestState:
        state = Record.decode(self.versions[-1]).state
        assert state is not None
        return state

    def command(self, kind: type[CommandBase], actor: str, at: int | None = None, **fields: Any) -> None:
        self._at = at if at is not None else self._at + self._dice.randrange(60_000, 3_600_000)
        self._offset += 1
        id_ = str(uuid.UUID(int=self._dice.getrandbits(128), version=4))
        self.ids.append(id_)
        command = kind(
            command_id=id_,
            request_id=self.request_id,
            actor_id=actor,
            correlation_id=str(uuid.UUID(int=self._dice.getrandbits(128), version=4)),
            source_address=f"10.{self._dice.randrange(256)}.{self._dice.randrange(256)}.7",
            salt=self._dice.randbytes(16).hex(),
            **fields,
        )
        value = orjson.dumps(command.model_dump())
        source = Incoming(topics.COMMANDS, 0, self._offset, self._at, self.request_id.encode(), value, [])
        before = len(self.versions)
        _at_once(process(self._shard, [source], Nowhere(), self._stores, _never))
        assert len(self.versions) == before + 1, f"{kind.__name__} of a story was not applied"

    def vote(self, kind: type[CommandBase] = Approve) -> str:
        """The next one in the open pool who has not voted decides."""
        voter = self.voter()
        self.command(kind, voter, comment=self.text(4, 30))
        return voter

    def voter(self) -> str:
        level = self.state.open_level
        assert level is not None
        voted = {vote.approver_id for _, vote in self.state.standing}
        return next(user for user in level.approvers if user not in voted)

    def text(self, low: int, high: int) -> str:
        return " ".join(self._dice.choices(WORDS, k=self._dice.randrange(low, high)))


def _at_once(work: Coroutine[Any, Any, None]) -> None:
    """Run what never waits."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("a story waits for something")


async def _never(offset: int) -> None:
    raise AssertionError(f"a story waits for reference data up to {offset}")


def template(catalog: Catalog, rules: RulesInForce, dice: random.Random, end: str, now_ms: int) -> Template:
    """One story of that end."""
    story = Story(catalog, rules, dice, now_ms - (3_600_000 * 20 if end in ("open", "pending") else 30 * DAY_MS))
    category = dice.choice(("travel", "travel", "meals", "training", "hardware", "marketing"))
    story.command(
        SubmitRequest, dice.choice(REQUESTERS), category_id=category, reason_id=f"{category}-general",
        title=story.text(3, 7)[:120], description=story.text(20, 60), amount=dice.choice(AMOUNTS),
        currency=dice.choice(("EUR", "USD", "GBP")),
    )  # fmt: skip
    voter = None
    if end == "pending":
        for _ in range(dice.randrange(2)):
            if len(story.state.levels) > 1:
                story.vote()
        voter = story.voter()
    elif end == "closed":
        story.vote(Reject)
    else:
        if dice.random() < 0.05:
            story.command(Rollback, story.vote(), comment="wrong one")
        while story.state.pending:
            story.vote()
    if end in ("finalized", "closed"):
        decision, due = story.state.newest_decision, story.state.closes_at
        assert decision is not None and due is not None
        story.command(CloseWindow, SYSTEM, at=due + 1, decision_version=decision[1].version)
    assert len(story.versions) <= OFFSETS
    windows = [(key.removesuffix(story.request_id.encode()), row) for key, row in story.windows]
    return Template(end, voter, len(story.ids), tuple(_cut(one, story.ids) for one in story.versions), tuple(windows))


def _cut(data: bytes, ids: Sequence[str]) -> tuple[tuple[bytes, int], ...]:
    """The bytes around the ids, whether these are written as text or as 16 bytes (a negative number: -1 - index)."""
    found: list[tuple[int, int, int]] = []
    for number, id_ in enumerate(ids):
        for needle, slot in ((id_.encode(), number), (uuid.UUID(id_).bytes, -1 - number)):
            at = data.find(needle)
            while at >= 0:
                found.append((at, at + len(needle), slot))
                at = data.find(needle, at + 1)
    assert found, "no id is in the record: is it compressed?"
    parts, last, none = [], 0, len(ids)
    for start, stop, slot in sorted(found):
        parts.append((data[last:start], slot))
        last = stop
    parts.append((data[last:], none))
    return tuple(parts)


def _paste(parts: tuple[tuple[bytes, int], ...], texts: list[bytes], raws: list[bytes]) -> bytes:
    out = []
    for fixed, slot in parts:
        out.append(fixed)
        out.append(texts[slot] if slot >= 0 else raws[-1 - slot])
    return b"".join(out)


def templates(catalog: Catalog, seed: int) -> list[Template]:
    """Stories in proportion to `ENDS`, in random order."""
    dice = random.Random(seed)
    rules = RulesInForce(catalog)
    now_ms = int(time.time() * 1000)
    ends = [end for end, share in ENDS.items() for _ in range(max(1, STORIES * share // 100))]
    dice.shuffle(ends)
    return [template(catalog, rules, dice, end, now_ms) for end in ends]


def fill(kafka: Kafka, partitions: int, requests: int, versions: int = 1, seed: int = 1, processes: int = 2) -> Filled:
    """Write `requests` requests, the last `versions` versions of each. Nobody else may write to the changelogs meanwhile."""
    began = time.monotonic()
    stories = asyncio.run(_stories(kafka, seed))
    shares = [(requests + number) // processes for number in range(processes)]
    jobs = [(kafka, partitions, stories, share, versions, seed * 1000 + number) for number, share in enumerate(shares)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        parts = pool.starmap_async(_fill, jobs).get(timeout=1800)
    whole = Filled(seconds=time.monotonic() - began)
    for part in parts:
        whole.requests += part.requests
        whole.records += part.records
        whole.changelog_bytes += part.changelog_bytes
        whole.newest_bytes += part.newest_bytes
        whole.samples += part.samples
    return whole


async def _stories(kafka: Kafka, seed: int) -> list[Template]:
    follower = ReferenceFollower(kafka)
    await follower.start()
    try:
        return templates(follower.catalog, seed)
    finally:
        await follower.stop()


def _fill(kafka: Kafka, partitions: int, stories: list[Template], requests: int, versions: int, seed: int) -> Filled:
    async def run() -> Filled:
        return await _Filler(kafka, partitions, versions, seed).run(stories, requests)

    return asyncio.run(run())


class _Filler:
    """One process' share."""

    def __init__(self, kafka: Kafka, partitions: int, versions: int, seed: int) -> None:
        self._producer = kafka.producer(acks=1, max_batch_size=BATCH_BYTES, max_request_size=4 * BATCH_BYTES)
        self._partitions = partitions
        self._versions = versions
        self._dice = random.Random(seed)
        self._builders: dict[tuple[str, int], Any] = {}
        self._sent: list[asyncio.Future[Any]] = []
        self.filled = Filled()

    async def run(self, stories: list[Template], requests: int) -> Filled:
        await self._producer.start()
        try:
            every = max(1, requests // 400)
            for first in range(0, requests, ROUND):
                await self._round(stories, range(first, min(first + ROUND, requests)), every)
            for place in list(self._builders):
                await self._send(*place)
            await asyncio.gather(*self._sent)
        finally:
            await self._producer.stop()
        return self.filled

    async def _round(self, stories: list[Template], numbers: range, every: int) -> None:
        rows: list[list[tuple[int, bytes, bytes]]] = [[] for _ in range(self._versions)]
        for number in numbers:
            story = stories[number % len(stories)]
            seeds = self._dice.randbytes(16 * story.ids)
            raws = [_uuid4(seeds[at : at + 16]) for at in range(0, len(seeds), 16)]
            texts = [*(_text(raw) for raw in raws), b""]
            key = texts[0]
            partition = (murmur2(key) & 0x7FFFFFFF) % self._partitions
            kept = story.versions[-self._versions :]
            for slot, parts in enumerate(kept, start=self._versions - len(kept)):
                rows[slot].append((partition, key, _paste(parts, texts, raws)))
            value = rows[-1][-1][2]
            self.filled.requests += 1
            self.filled.newest_bytes += len(value)
            # A pending one whenever it is time for a sample, else any.
            if number % every == 0 or (story.voter is not None and len(self.filled.samples) < 20):
                self.filled.samples.append(Sample(key.decode(), partition, value, story.voter))
            if story.end == "open" or self._versions > 1:
                for prefix, row in story.windows:
                    await self._add(topics.WINDOWS_CHANGELOG, partition, prefix + key, row)
        for pass_ in rows:
            for partition, key, value in pass_:
                await self._add(topics.REQUESTS_CHANGELOG, partition, key, value)

    async def _add(self, topic: str, partition: int, key: bytes, value: bytes | None) -> None:
        builder = self._builders.get((topic, partition)) or self._producer.create_batch()
        if builder.append(timestamp=None, key=key, value=value, headers=[]) is None:
            await self._send(topic, partition)
            builder = self._producer.create_batch()
            builder.append(timestamp=None, key=key, value=value, headers=[])
        self._builders[topic, partition] = builder
        self.filled.records += 1
        self.filled.changelog_bytes += len(key) + len(value or b"")

    async def _send(self, topic: str, partition: int) -> None:
        self._sent.append(
            await self._producer.send_batch(self._builders.pop((topic, partition)), topic, partition=partition)
        )
        if len(self._sent) >= 16:
            await asyncio.gather(*self._sent)
            self._sent.clear()


def _uuid4(raw: bytes) -> bytes:
    return raw[:6] + bytes((raw[6] & 0x0F | 0x40, raw[7], raw[8] & 0x3F | 0x80)) + raw[9:]


def _text(raw: bytes) -> bytes:
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}".encode()
