"""Shards on stores of plain dictionaries, with a log that a test can read: what a worker is without Kafka and disk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from agents.barrier import process
from agents.ports import Effects, Incoming, Output, Shard
from agents.requests import CHAINS, REQUESTS, WINDOWS, RequestShard
from schemas import topics
from schemas.audit import CHAINED, GENESIS, chain_hash, commitments, content_hash
from schemas.catalog import Catalog
from schemas.commands import CommandBase
from schemas.envelope import header
from tables.record import Record
from tests.unit.core import organisation as org

PARTITION = 3


class MemoryStore:
    """`agents.ports.Store` in a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def apply(self, writes: dict[bytes, bytes | None], changelog_offset: int) -> None:
        for key, value in writes.items():
            self.put_local(key, value)

    def put_local(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = value

    def scan(self, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(item for item in self.rows.items() if item[0] >= start))


def incoming(
    value: bytes | None,
    offset: int,
    *,
    key: bytes | None = None,
    at: int = org.START,
    topic: str = topics.COMMANDS,
    headers: Sequence[tuple[str, bytes]] = (),
) -> Incoming:
    return Incoming(topic, PARTITION, offset, at, key, value, headers)


def written(command: CommandBase, offset: int, at: int = org.START, **changes: Any) -> Incoming:
    """A command as a gateway writes it."""
    body = command.model_dump(mode="json") | changes
    return incoming(orjson.dumps(body), offset, key=command.request_id.encode(), at=at)


def document(output: Output) -> dict[str, Any]:
    assert output.value is not None
    found: dict[str, Any] = orjson.loads(output.value)
    return found


def of_topic(outputs: Sequence[Output], topic: str) -> list[dict[str, Any]]:
    return [document(output) for output in outputs if output.topic == topic]


def ids(outputs: Sequence[Output]) -> list[str | None]:
    return [header(output.headers, "ce_id") for output in outputs]


class Worker:
    """A request shard whose batches of one command are stored as they come; `restart` is a crash with the table kept."""

    def __init__(self, catalog: Catalog | None = None, rules: org.FixedRules | None = None) -> None:
        self.catalog = catalog or org.catalog()
        self.rules: org.FixedRules | None = rules or org.fixed_rules()
        self.stores = {CHAINS: MemoryStore(), REQUESTS: MemoryStore(), WINDOWS: MemoryStore()}
        self._settled = 0
        self.end = 2**62
        self.offset = -1
        self.log: list[Output] = []
        self.observed: list[tuple[str, str]] = []
        self.restart()

    def restart(self) -> None:
        self.shard = RequestShard(
            PARTITION,
            self.stores,
            self.catalog,
            lambda: self.rules,
            self._settled,
            self.end,
            lambda offset: offset == 666,
            lambda kind, result: self.observed.append((kind, result)),
        )

    def settle(self, offset: int) -> None:
        """The outputs of all commands before `offset` are in the log; the shard knows, and so will the one after a restart."""
        self._settled = min(offset, self.offset + 1)
        self.shard.settled(self._settled)

    def handle(self, record: Incoming) -> list[Output]:
        effects = Effects()
        self.shard.handle(record, effects)
        commit(effects, self.stores)
        self.log += effects.outputs
        return effects.outputs

    def send(self, command: CommandBase, at: int = 0, **changes: Any) -> list[Output]:
        """Append a command at the log's time START + `at` ms, and decide it."""
        self.offset += 1
        return self.handle(written(command, self.offset, org.START + at, **changes))

    def code(self, command: CommandBase, at: int = 0) -> str | None:
        """Send it; the refusal's code, None when accepted."""
        (outcome,) = of_topic(self.send(command, at), topics.OUTCOMES)
        code: str | None = outcome["code"]
        return code

    def record(self, request_id: str = org.REQUEST_ID) -> Record:
        return Record.decode(self.stores[REQUESTS].rows[request_id.encode()])

    @property
    def audit(self) -> list[dict[str, Any]]:
        return of_topic(self.log, topics.AUDIT)


def commit(effects: Effects, stores: Any) -> None:
    for table in effects.writes:
        stores[table].apply(effects.rows(table), 0)


class MemoryLog:
    """`agents.ports.Log` in memory; `largest` is the longest row that any table was given, in bytes."""

    def __init__(self) -> None:
        self.outputs: list[Output] = []
        self.largest = 0

    async def write_tables(self, writes: Mapping[str, Mapping[bytes, bytes | None]]) -> Mapping[str, int]:
        sizes = [len(value or b"") for rows in writes.values() for value in rows.values()]
        self.largest = max([self.largest, *sizes])
        return dict.fromkeys(writes, 0)

    async def write_outputs(self, outputs: Sequence[Output]) -> None:
        self.outputs += outputs


def work_through(shard: Shard, stores: Mapping[str, MemoryStore], records: Sequence[Incoming], batch: int) -> MemoryLog:
    """All records through the real barrier, `batch` at a time."""
    log = MemoryLog()

    async def never(offset: int) -> None:
        raise AssertionError(f"nothing waits for reference data up to {offset}")

    async def work() -> None:
        for start in range(0, len(records), batch):
            await process(shard, records[start : start + batch], log, stores, never)

    asyncio.run(work())
    return log


def feed(shard: Shard, store: Any, record: Incoming) -> list[Output]:
    """One record through a shard with one table."""
    effects = Effects()
    shard.handle(record, effects)
    for table in effects.writes:
        store.apply(effects.rows(table), 0)
    return effects.outputs


def verify_chains(records: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Recompute every chain as an auditor does; the length of each."""
    heads: dict[str, tuple[int, str]] = {}
    for record in records:
        seq, head = heads.get(record["entity"], (0, GENESIS))
        assert record["seq"] == seq + 1, "a hole or a repeat in a chain"
        assert record["prev_hash"] == head
        assert record["hash"] == chain_hash(record)
        assert record["commitments"] == commitments(record["salt"], record["personal"])
        assert record["content"] == (None if record["event"] is None else content_hash(record["event"]))
        assert set(CHAINED) <= set(record)
        heads[record["entity"]] = (record["seq"], record["hash"])
    return {entity: seq for entity, (seq, _) in heads.items()}
