"""The host's world on Kafka and RocksDB."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from agents.exits import die
from agents.fencing import MAX_REQUEST_BYTES, Line
from agents.host_ports import Key, Unreachable, World
from agents.kafka_log import KafkaLog
from agents.ports import Output
from agents.rocks import RocksStore
from agents.rules_checks import RulesChecks
from agents.rules_in_force import RulesInForce
from agents.rules_watch import RulesWatch
from agents.spread import partition_of
from agents.topology import CHANGELOGS, OUTPUTS, TABLES
from ops.kafka_clients import Kafka
from ops.reference import ReferenceFollower
from ops.settings import Settings
from schemas import topics

ASK_TIMEOUT_S = 20.0
SEND_TIMEOUT_S = 30.0


@asynccontextmanager
async def _asking(what: str, timeout: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(timeout):
            yield
    except (KafkaError, OSError) as error:  # a TimeoutError is an OSError
        raise Unreachable(f"{what}: {type(error).__name__}: {error}") from error


class KafkaCluster:
    """See `agents.host_ports.Cluster`."""

    def __init__(self, kafka: Kafka, partitions: int) -> None:
        self._kafka = kafka
        self._partitions = partitions
        self._admin: AIOKafkaAdminClient | None = None
        self._sender: AIOKafkaProducer | None = None
        self._ends: AIOKafkaConsumer | None = None
        # By source topic: two shards of one topic write to different partitions, those of two topics to the same ones.
        self._lines = {topic: Line(kafka, f"{topic}-shards") for topic in TABLES}

    async def start(self) -> None:
        self._admin = self._kafka.admin(request_timeout_ms=10_000)
        await self._admin.start()
        self._sender = self._kafka.producer(enable_idempotence=True, acks="all", max_request_size=MAX_REQUEST_BYTES)
        await self._sender.start()
        self._ends = self._kafka.consumer(enable_auto_commit=False)
        await self._ends.start()

    async def stop(self) -> None:
        for line in self._lines.values():
            await line.stop()
        if self._sender is not None:
            await self._sender.stop()
        if self._ends is not None:
            await self._ends.stop()
        if self._admin is not None:
            await self._admin.close()

    def shard_log(self, key: Key) -> KafkaLog:
        topic, partition = key
        everywhere = {topics.REFERENCE: 1, topics.AUDIT: self._partitions, topics.OUTCOMES: self._partitions}
        return KafkaLog(
            self._kafka,
            f"{topic}-{partition}",
            partition,
            {name: CHANGELOGS[name] for name in TABLES[topic]},
            OUTPUTS[topic],
            everywhere if topic == topics.REFERENCE_COMMANDS else {},
            self._lines[topic],
        )

    async def committed(self) -> Mapping[Key, int]:
        assert self._admin is not None
        async with _asking("the group's committed offsets", ASK_TIMEOUT_S):
            found = await self._admin.list_consumer_group_offsets(topics.WORKER_GROUP)
        return {
            (tp.topic, tp.partition): metadata.offset
            for tp, metadata in found.items()
            if isinstance(tp, TopicPartition) and metadata.offset >= 0
        }

    async def bounds(self, keys: Iterable[Key]) -> Mapping[Key, tuple[int, int]]:
        assert self._ends is not None
        wanted = [TopicPartition(*key) for key in keys]
        async with _asking("the ends of our partitions", ASK_TIMEOUT_S):
            ends = await self._ends.end_offsets(wanted)
            begins = await self._ends.beginning_offsets(wanted)
        return {(tp.topic, tp.partition): (begins[tp], ends[tp]) for tp in wanted}

    async def send(self, outputs: Sequence[Output]) -> None:
        assert self._sender is not None
        async with _asking("sending commands of the system", SEND_TIMEOUT_S):
            sent = [
                await self._sender.send(
                    one.topic, key=one.key, value=one.value, headers=one.headers, partition=one.partition
                )
                for one in outputs
            ]
            await asyncio.gather(*sent)

    async def append_time(self) -> int:
        assert self._sender is not None
        # A tombstone on a compacted topic of LogAppendTime: its acknowledgement tells the broker's time.
        async with _asking("the broker's clock", SEND_TIMEOUT_S):
            sent = await self._sender.send_and_wait(topics.CHAINS_CHANGELOG, key=b"\x00clock", value=None, partition=0)
        return int(sent.timestamp)


def kafka_world(
    settings: Settings,
    table_of: Callable[[str], Any],
    generation: Callable[[], int],
    progress: Callable[[], object] = lambda: None,
) -> World:
    """The world of a worker. `table_of` gives the Faust table of a name; the rest is as `World` has it."""
    reference = ReferenceFollower(settings.kafka)
    rules = RulesInForce(reference.catalog, aside=True)
    reference.on_change = rules.heard
    return World(
        partitions=settings.partitions,
        cluster=KafkaCluster(settings.kafka, settings.partitions),
        reference=reference,
        rules=rules,
        checking=RulesChecks,
        watch=RulesWatch(reference.catalog),
        store=lambda name, partition: RocksStore(table_of(name), partition),
        generation=generation,
        die=die,
        progress=progress,
        partition_of=lambda key: partition_of(key, settings.partitions),
    )
