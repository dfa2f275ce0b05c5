"""The invariants of `quality.md`, checked by reading the log and the database of a stack: used by crash and load tests.

`check(home)` reads everything; each finding is one sentence that begins with the invariant's number. Nothing found: all hold.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from ops.stack.home import Home
from schemas import topics
from schemas.audit import GENESIS, chain_hash, commitment, content_hash
from schemas.commands import COMMANDS, CloseWindow
from schemas.events import EVENT_TYPES, EVENTS, AnyEvent, Approved, Rejected, RolledBack, Submitted, WindowClosed
from schemas.state import RequestState
from schemas.view import request_view
from tables.evolve import evolve
from tables.record import Record

READ_TIME_OUT = 120.0
#: Seconds after its deadline in which the sweep must have closed a window.
SWEEP_GRACE = 15.0
PERSONAL = {kind.model_fields["type"].default: kind.PERSONAL for kind in EVENT_TYPES}
PENDING_OF = {"L1": "pending_l1", "L2": "pending_l2", "L3": "pending_l3"}


@dataclass(frozen=True)
class Acknowledged:
    """What a client was told: its command's id, and the status of the answer that settled it (201, 200, 4xx)."""

    command_id: str
    status: int
    code: str | None
    request_id: str | None
    version: int | None


@dataclass
class Found:
    """What was read and what is wrong. `chains` counts audit chains, `lost` and `doubled` acknowledged commands."""

    problems: list[str] = field(default_factory=list)
    commands: int = 0
    requests: int = 0
    chains: int = 0
    records: int = 0
    lost: int = 0
    doubled: int = 0
    dead_letters: int = 0

    def wrong(self, invariant: int, text: str) -> None:
        self.problems.append(f"{invariant}: {text}")


async def read(bootstrap: str, topic: str) -> list[ConsumerRecord]:
    """Every record of a topic from the beginning to its end now, in the order of partition and offset."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=100
    )
    await consumer.start()
    try:
        await consumer._client.force_metadata_update()
        numbers = sorted(await consumer._client._wait_on_metadata(topic))
        assigned = [TopicPartition(topic, number) for number in numbers]
        consumer.assign(assigned)
        await consumer.seek_to_beginning(*assigned)
        ends = await consumer.end_offsets(assigned)
        found: dict[TopicPartition, list[ConsumerRecord]] = defaultdict(list)
        heard = time.monotonic()
        async with asyncio.timeout(READ_TIME_OUT):
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                batch = await consumer.getmany(timeout_ms=300, max_records=5000)
                for tp, records in batch.items():
                    found[tp] += [record for record in records if record.offset < ends[tp]]
                if batch:
                    heard = time.monotonic()
                elif time.monotonic() - heard > 3:
                    break  # control records at the end move no position
        return [record for tp in assigned for record in found[tp]]
    finally:
        await consumer.stop()


def event_of(record: Mapping[str, Any]) -> AnyEvent:
    """The whole event of an accepted audit record of a request: its public part with the personal fields put back."""
    event = dict(record["event"])
    for name in PERSONAL[event["type"]]:
        event[name] = record["personal"].get(name)
    return EVENTS.validate_python(event)


class Log:
    """What the topics hold, without repeats; a repeat that differs is a finding."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self.audit: dict[tuple[str, int], dict[str, Any]] = {}
        self.outcomes: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.commands: list[ConsumerRecord] = []
        self.table: dict[str, Record] = {}
        self.reference: set[str] = set()
        self.audit_ends: dict[int, int] = {}
        self.dead: set[tuple[int, int]] = set()

    async def load(self, bootstrap: str) -> None:
        self.commands = await read(bootstrap, topics.COMMANDS)
        for record in self._once(await read(bootstrap, topics.AUDIT)):
            body = orjson.loads(record.value)
            place = (body["entity"], body["seq"])
            if place in self.audit:
                self.found.wrong(6, f"{place} is in the audit stream as two different records")
            self.audit[place] = body
            self.audit_ends[record.partition] = record.offset + 1
        for record in self._once(await read(bootstrap, topics.OUTCOMES)):
            body = orjson.loads(record.value)
            self.outcomes[body["command_id"]].append(body)
        self._once(await read(bootstrap, topics.NOTIFICATIONS))
        for record in self._once(await read(bootstrap, topics.DEAD_LETTERS)):
            body = orjson.loads(record.value)
            if body["topic"] == topics.COMMANDS:
                self.dead.add((body["partition"], body["offset"]))
        for record in await read(bootstrap, topics.REQUESTS_CHANGELOG):
            if record.key and not record.key.startswith(b"\x00"):
                self.table[record.key.decode()] = Record.decode(record.value)
        for record in await read(bootstrap, topics.REFERENCE):
            if record.key and record.value:
                self.reference.add(record.key.decode())

    def _once(self, records: Iterable[ConsumerRecord]) -> list[ConsumerRecord]:
        """The first record of each output id; a repeat must be the same bytes (failed outcomes are not remembered)."""
        first: dict[str, ConsumerRecord] = {}
        for record in records:
            if not record.value or not record.value.startswith(b"{"):
                continue
            id_ = dict(record.headers).get("ce_id", b"").decode()
            before = first.setdefault(id_, record)
            if before is record or before.value == record.value:
                continue
            if record.topic == topics.OUTCOMES and _same_outcome(before.value, record.value):
                continue
            self.found.wrong(1, f"output {id_} is on {record.topic} twice with different bytes")
        return list(first.values())

    def chains(self) -> dict[str, list[dict[str, Any]]]:
        chains: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for entity, seq in sorted(self.audit):
            chains[entity].append(self.audit[entity, seq])
        return chains


def _same_outcome(one: bytes, other: bytes) -> bool:
    """Whether two outcomes of one command say the same; a refusal given again may show the request as it is now."""
    names = ("command_id", "status", "code", "request_id", "version")
    first, second = orjson.loads(one), orjson.loads(other)
    return all(first[name] == second[name] for name in names)


def check_outcomes(log: Log, book: Iterable[Acknowledged], found: Found) -> None:
    """1: every acknowledged command has exactly one outcome, the one that the client was told, and one effect."""
    effects: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for place, record in log.audit.items():
        if record["code"] != "idempotency-key-reused":
            effects[record["command_id"]].append(place)
    for command_id, places in effects.items():
        if len(places) > 1:
            found.wrong(1, f"command {command_id} is in the audit stream {len(places)} times: {places}")
            found.doubled += 1
    for told in book:
        found.commands += 1
        settled = [one for one in log.outcomes.get(told.command_id, ()) if one["status"] != "failed"]
        distinct = {(one["status"], one["code"], one["request_id"], one["version"]) for one in settled}
        if not distinct:
            found.lost += 1
            found.wrong(1, f"acknowledged command {told.command_id} has no outcome")
            continue
        if len(distinct) > 1:
            found.doubled += 1
            found.wrong(1, f"command {told.command_id} has several outcomes: {sorted(map(str, distinct))}")
        one = settled[0]
        expected = ("accepted", None) if told.status < 300 else ("refused", told.code)
        if (one["status"], one["code"]) != expected:
            found.wrong(1, f"command {told.command_id}: told {expected}, on record {(one['status'], one['code'])}")
        if told.status < 300 and (one["request_id"], one["version"]) != (told.request_id, told.version):
            found.wrong(1, f"command {told.command_id}: told version {told.version}, on record {one['version']}")
        if not effects.get(told.command_id):
            found.lost += 1
            found.wrong(1, f"acknowledged command {told.command_id} is in no audit chain")


def replay(log: Log, found: Found) -> dict[str, RequestState]:
    """2, 4, 5, 8 for every request, from the audit stream alone; returns the state that each ends in."""
    states: dict[str, RequestState] = {}
    for entity, chain in log.chains().items():
        if not entity.startswith("request:"):
            continue
        id_ = entity.removeprefix("request:")
        state: RequestState | None = None
        for record in chain:
            if record["outcome"] == "refused":
                continue
            event = event_of(record)
            expected = 1 if state is None else state.version + 1
            if event.version != expected or record["version"] != expected:
                found.wrong(
                    2, f"{entity}: expected version {expected}, found {event.version} (record {record['version']})"
                )
                break
            _check_event(entity, state, event, log.reference, found)
            state = evolve(state, event, id_)
            if record["request"] != request_view(state):
                found.wrong(3, f"{entity} version {event.version}: the record's request is not what the events give")
        if state is not None:
            states[id_] = state
    return states


def _check_event(entity: str, state: RequestState | None, event: AnyEvent, reference: set[str], found: Found) -> None:
    where = f"{entity} version {event.version} ({event.type})"
    if isinstance(event, Submitted):
        needed = {f"rules:{event.rules_version}", f"category:{event.category_id}", f"reason:{event.reason_id}"}
        needed |= {f"department:{event.department_id}", f"user:{event.actor_id}"}
        needed |= {f"user:{user}" for level in event.levels for user in level.approvers}
        if missing := needed - reference:
            found.wrong(8, f"{where} pins {sorted(missing)}, which the reference data does not have")
        return
    if state is None:
        found.wrong(2, f"{where} is the first event of its request")
        return
    if event.at < state.updated_at:
        found.wrong(5, f"{where} lies before the event before it")
    if isinstance(event, Approved | Rejected):
        level = state.open_level
        if level is None or state.status.value != PENDING_OF[level.level]:
            found.wrong(5, f"{where} on a request that is {state.status.value}")
        elif event.level != level.level or event.actor_id not in level.approvers:
            found.wrong(4, f"{where}: {event.actor_id} is not in the pool of {level.level}")
        if event.actor_id == state.requester_id:
            found.wrong(4, f"{where}: decided by its requester")
        if any(vote.approver_id == event.actor_id for _, vote in state.standing):
            found.wrong(4, f"{where}: {event.actor_id} had voted before")
    newest = state.newest_decision
    if isinstance(event, RolledBack):
        if newest is None or newest[1].approver_id != event.actor_id:
            found.wrong(5, f"{where}: not the newest decision of {event.actor_id}")
        elif not newest[1].at <= event.at < newest[1].at + state.window_ms:
            found.wrong(5, f"{where}: rolled back outside its window")
    if isinstance(event, WindowClosed) and (state.closes_at is None or event.at < state.closes_at):
        found.wrong(5, f"{where}: closed before its time")


def check_chains(log: Log, found: Found) -> None:
    """6: every chain is whole, its hashes and commitments right, its length the versions plus the refusals."""
    for entity, chain in log.chains().items():
        found.chains += 1
        found.records += len(chain)
        before = GENESIS
        for expected, record in enumerate(chain, start=1):
            if record["seq"] != expected:
                found.wrong(6, f"{entity}: expected seq {expected}, found {record['seq']}")
                break
            if record["prev_hash"] != before or record["hash"] != chain_hash(record):
                found.wrong(6, f"{entity}: the chain breaks at seq {expected}")
            for name, text in record["personal"].items():
                if record["commitments"].get(name) != commitment(record["salt"], name, text):
                    found.wrong(6, f"{entity}: seq {expected} does not hold to its {name}")
            if record["event"] is not None and record["content"] != content_hash(record["event"]):
                found.wrong(6, f"{entity}: the event of seq {expected} is not what was hashed")
            before = record["hash"]


def check_table(log: Log, states: Mapping[str, RequestState], found: Found) -> None:
    """2, 3, 6 for the worker's table: the changelog's newest records against the audit stream."""
    for id_ in set(log.table) ^ set(states):
        found.wrong(3, f"request {id_} is in only one of the table and the audit stream")
    chains = log.chains()
    for id_, state in states.items():
        record = log.table.get(id_)
        if record is None:
            continue
        if record.state is None or record.state != state:
            found.wrong(3, f"request {id_}: the table's state is not what the audit stream gives")
        if [event.version for event in record.events] != list(range(1, state.version + 1)):
            found.wrong(2, f"request {id_}: the table's versions are not 1 to {state.version}")
        chain = chains[f"request:{id_}"]
        refusals = sum(1 for one in chain if one["outcome"] == "refused")
        if record.seq != state.version + refusals or record.head != chain[-1]["hash"]:
            found.wrong(6, f"request {id_}: the table's head of the chain is not the stream's")


def check_windows(states: Mapping[str, RequestState], now_ms: int, found: Found) -> None:
    """5: no window is left open after its time."""
    for id_, state in states.items():
        if state.closes_at is not None and state.closes_at + SWEEP_GRACE * 1000 < now_ms:
            found.wrong(
                5, f"request {id_}: its window should have closed {(now_ms - state.closes_at) / 1000:.0f} s ago"
            )


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


def check_fates(log: Log, bad: Iterable[tuple[int, int]], found: Found) -> None:
    """1: every record of the commands topic came to an end: an outcome, or a dead letter, or a window's closing.

    `bad` are the places of records that cannot have been decided: exactly those and no others of theirs have a dead letter.
    """
    found.dead_letters = len(log.dead)
    for place in sorted(set(bad) - log.dead):
        found.wrong(1, f"the record at {place} of {topics.COMMANDS} is no command, and has no dead letter")
    for record in log.commands:
        place = (record.partition, record.offset)
        if place in log.dead:
            continue
        try:
            command = COMMANDS.validate_json(record.value or b"")
        except ValueError:
            found.wrong(1, f"the record at {place} of {topics.COMMANDS} cannot be read, and has no dead letter")
            continue
        if not isinstance(command, CloseWindow) and command.command_id not in log.outcomes:
            found.wrong(1, f"command {command.command_id} at {place} of {topics.COMMANDS} has no outcome")


async def check(home: Home, book: Iterable[Acknowledged] = (), bad: Iterable[tuple[int, int]] = ()) -> Found:
    """Read everything once nothing moves any more, and check invariants 1 to 8. `bad`: see `check_fates`."""
    await caught_up(home)
    found = Found()
    log = Log(found)
    await log.load(home.kafka)
    check_outcomes(log, book, found)
    check_fates(log, bad, found)
    states = replay(log, found)
    found.requests = len(states)
    check_chains(log, found)
    check_table(log, states, found)
    check_windows(states, int(time.time() * 1000), found)
    await check_database(home.endpoints()["postgres"], log, states, found)
    return found
