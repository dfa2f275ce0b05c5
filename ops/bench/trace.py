"""Where the time of a POST goes, from the times that its records carry; ms since 1970, all by this machine's clock.

A record of `athena.commands` says when the gateway had checked the call (`ce_time`) and when the broker appended it; the changelog
when the worker had decided; `athena.audit` when the state was acknowledged and in RocksDB; `athena.outcomes` when the broker
appended the outcome. Sending and answer are the client's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.kafka_log import FENCE_KEY
from ops.bench.figures import percentile
from ops.kafka_clients import Kafka
from ops.log_reader import partitions_of
from ops.stack.errors import StackError
from schemas import topics
from schemas.envelope import header

#: From one moment to the next: what happened between them.
STAGES = (
    "gateway: receive, check, build",
    "produce: until the broker appended the command",
    "worker: fetch and decide",
    "worker: changelog acknowledged, RocksDB",
    "worker: outputs, until the broker appended the outcome",
    "gateway: fetch the outcome, answer",
)
_STALL_MS = 2_000


@dataclass(frozen=True, slots=True)
class Call:
    """A POST as the client saw it."""

    command_id: str
    request_id: str
    version: int
    sent: float
    answered: float


@dataclass(slots=True)
class Seen:
    """What the log says, by command id (commands, outcomes) and by request and version (decided, written)."""

    checked: dict[str, float]
    appended: dict[str, float]
    decided: dict[tuple[str, int], float]
    written: dict[str, float]
    told: dict[str, float]


def moments(call: Call, seen: Seen) -> list[float] | None:
    """Seven moments in the order of `STAGES`; None where the log lacks one."""
    id_ = call.command_id
    found = [
        call.sent,
        seen.checked.get(id_),
        seen.appended.get(id_),
        seen.decided.get((call.request_id, call.version)),
        seen.written.get(id_),
        seen.told.get(id_),
        call.answered,
    ]
    known = [one for one in found if one is not None]
    return known if len(known) == len(found) else None


def table(calls: Iterable[Call], seen: Seen) -> tuple[list[list[Any]], int]:
    """A row for each stage and one for all: mean, p50 and p99 in ms; and how many calls were traced.

    Times on records are whole ms, cut off; so are the client's here, which leaves the means right and single ones 1 ms off.
    """
    traced = [found for call in calls if (found := moments(call, seen)) is not None]
    rows = []
    for index, stage in enumerate(STAGES):
        rows.append([stage, *_spread([one[index + 1] - one[index] for one in traced])])
    rows.append(["**the whole POST**", *_spread([one[-1] - one[0] for one in traced])])
    return rows, len(traced)


def _spread(values: Sequence[float]) -> list[float | None]:
    mean = round(sum(values) / len(values), 2) if values else None
    return [mean, percentile(values, 50), percentile(values, 99)]


class Reader:
    """Reads what the four topics got since it was started."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._begins: dict[TopicPartition, int] = {}

    async def mark(self) -> None:
        """From here on."""
        consumer = self._kafka.consumer(enable_auto_commit=False)
        await consumer.start()
        try:
            self._begins = await consumer.end_offsets(await _partitions(consumer))
        finally:
            await consumer.stop()

    async def read(self) -> Seen:
        """Everything since the mark. Raises StackError when the broker stops answering."""
        consumer = self._kafka.consumer(enable_auto_commit=False, max_poll_records=2_000)
        await consumer.start()
        seen = Seen({}, {}, {}, {}, {})
        versions: dict[str, int] = {}
        try:
            consumer.assign(list(self._begins))
            for partition, begin in self._begins.items():
                consumer.seek(partition, begin)
            ends = await consumer.end_offsets(list(self._begins))
            while any([await consumer.position(each) < end for each, end in ends.items()]):
                found = await consumer.getmany(timeout_ms=_STALL_MS)
                if not found:
                    raise StackError("Kafka gave nothing more of what it has: see athena status")
                for partition, records in found.items():
                    for record in records:
                        _note(partition.topic, record, seen, versions)
        finally:
            await consumer.stop()
        return seen


async def _partitions(consumer: AIOKafkaConsumer) -> list[TopicPartition]:
    found = []
    for topic in (topics.COMMANDS, topics.REQUESTS_CHANGELOG, topics.AUDIT, topics.OUTCOMES):
        found += [TopicPartition(topic, number) for number in await partitions_of(consumer, topic)]
    return found


def _note(topic: str, record: Any, seen: Seen, versions: dict[str, int]) -> None:
    at = float(record.timestamp)
    if topic == topics.REQUESTS_CHANGELOG:
        if record.key != FENCE_KEY:
            # A request is written once for each command, since its commands come one after the other.
            key = record.key.decode()
            versions[key] = versions.get(key, 0) + 1
            seen.decided[key, versions[key]] = at
        return
    told: Mapping[str, str | None] = {name: header(record.headers, name) for name in ("ce_id", "ce_time", "ce_subject")}
    if topic == topics.COMMANDS and told["ce_id"] and told["ce_time"]:
        seen.checked[told["ce_id"]] = datetime.fromisoformat(told["ce_time"]).timestamp() * 1000
        seen.appended[told["ce_id"]] = at
    elif topic == topics.AUDIT:
        _by_command(seen.written, record, at)
    elif topic == topics.OUTCOMES:
        _by_command(seen.told, record, at)


def _by_command(into: dict[str, float], record: Any, at: float) -> None:
    if record.value and record.value[:1] == b"{":
        command_id = orjson.loads(record.value).get("command_id")
        if command_id:
            into.setdefault(command_id, at)
