"""What the topics of a stack hold."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from aiokafka import ConsumerRecord, TopicPartition

from ops.kafka_clients import Kafka
from schemas import topics
from schemas.events import EVENT_TYPES, EVENTS, AnyEvent
from tables.record import Record
from tests.invariants.found import Found

READ_TIME_OUT = 120.0
PERSONAL = {kind.model_fields["type"].default: kind.PERSONAL for kind in EVENT_TYPES}


async def read(kafka: Kafka, topic: str) -> list[ConsumerRecord]:
    """Every record of a topic from the beginning to its end now, in the order of partition and offset."""
    consumer = kafka.consumer(enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=100)
    try:
        await consumer.start()
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
        self.audit_records: list[ConsumerRecord] = []
        self.table: dict[str, Record] = {}
        self.reference: set[str] = set()
        self.audit_ends: dict[int, int] = {}
        self.dead: set[tuple[int, int]] = set()

    async def load(self, kafka: Kafka) -> None:
        self.commands = await read(kafka, topics.COMMANDS)
        self.audit_records = await read(kafka, topics.AUDIT)
        for record in self._once(self.audit_records):
            body = orjson.loads(record.value)
            place = (body["entity"], body["seq"])
            if place in self.audit:
                self.found.wrong(6, f"{place} is in the audit stream as two different records")
            self.audit[place] = body
            self.audit_ends[record.partition] = record.offset + 1
        for record in self._once(await read(kafka, topics.OUTCOMES)):
            body = orjson.loads(record.value)
            self.outcomes[body["command_id"]].append(body)
        self._once(await read(kafka, topics.NOTIFICATIONS))
        for record in self._once(await read(kafka, topics.DEAD_LETTERS)):
            body = orjson.loads(record.value)
            if body["topic"] == topics.COMMANDS:
                self.dead.add((body["partition"], body["offset"]))
        for record in await read(kafka, topics.REQUESTS_CHANGELOG):
            if record.key and not record.key.startswith(b"\x00"):
                self.table[record.key.decode()] = Record.decode(record.value)
        for record in await read(kafka, topics.REFERENCE):
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
