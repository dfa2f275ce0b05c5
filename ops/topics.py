"""Makes the topics of `schemas.topics.TOPICS` and checks that they are as the registry says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from ops.kafka_clients import Kafka
from ops.stack.errors import StackError
from schemas.topics import TOPICS, TopicSpec

#: Seconds in all for a broker that is still starting, and for one request.
REACH_TIME_OUT = 60.0
REQUEST_TIME_OUT = 20.0
#: Seconds until a topic just made must show on every broker asked.
APPEAR_TIME_OUT = 15.0
POLL = 0.2


class TopicsDiffer(StackError):
    """The broker's topics are not as the registry wants them; the text has one sentence per difference."""


async def ensure(kafka: Kafka, partitions: int, replication: int) -> None:
    """Make the missing topics, then verify all; changes no topic that exists.

    Raises:
        TopicsDiffer: a topic exists otherwise than wanted, or the broker refused to make one.
        StackError: no broker answered within 60 s.
    """
    async with _admin(kafka) as admin:
        present = set(await admin.list_topics())
        brokers = len((await admin.describe_cluster())["brokers"])
        missing = [spec for spec in TOPICS if spec.name not in present]
        if missing:
            wanted = [_new_topic(spec, partitions, replication, brokers) for spec in missing]
            response = await admin.create_topics(wanted, timeout_ms=int(REQUEST_TIME_OUT * 1000))
            _raise_refusals(response.topic_errors)
    deadline = time.monotonic() + APPEAR_TIME_OUT
    while differences := await verify(kafka, partitions, replication):
        # Metadata of a new topic takes a moment; anything else stays as it is.
        if time.monotonic() > deadline or not all(line.endswith(_MISSING) for line in differences):
            raise TopicsDiffer("\n".join(differences))
        await asyncio.sleep(POLL)


_MISSING = "does not exist. Make it: athena topics"


async def verify(kafka: Kafka, partitions: int, replication: int) -> list[str]:
    """Compare the broker's topics with the registry: one sentence per difference, none when all is well. Changes nothing.

    Raises:
        StackError: no broker answered within 60 s.
    """
    async with _admin(kafka) as admin:
        names = [spec.name for spec in TOPICS]
        brokers = len((await admin.describe_cluster())["brokers"])
        # Asked for all topics: naming one that is missing could make it, where brokers create topics by themselves.
        found = {topic["topic"]: topic for topic in await admin.describe_topics() if topic["error_code"] == 0}
        present = [spec for spec in TOPICS if spec.name in found]
        configs = await _configs(admin, [(spec.name, required(spec, replication, brokers)) for spec in present])
    lines = [f"Topic {name} {_MISSING}" for name in names if name not in found]
    for spec in present:
        lines += _shape_differences(spec, found[spec.name]["partitions"], partitions, replication)
        for key, want in required(spec, replication, brokers).items():
            have = configs.get(spec.name, {}).get(key)
            if have != want:
                lines.append(
                    f"Topic {spec.name}: {key} is {have}, expected {want}. Set it: kafka-configs.sh --alter "
                    f"--entity-type topics --entity-name {spec.name} --add-config {key}={want}"
                )
    return lines


def required(spec: TopicSpec, replication: int, brokers: int) -> dict[str, str]:
    """The configuration a topic must have: the registry's, and what keeps acknowledged records on a real cluster."""
    config = spec.config | {"min.insync.replicas": str(max(1, replication - 1))}
    if brokers > 1:
        config["unclean.leader.election.enable"] = "false"
    return config


def _new_topic(spec: TopicSpec, partitions: int, replication: int, brokers: int) -> NewTopic:
    return NewTopic(
        spec.name,
        num_partitions=spec.partition_count(partitions),
        replication_factor=replication,
        topic_configs=required(spec, replication, brokers) | spec.tuned,
    )


def _raise_refusals(errors: list[tuple[Any, ...]]) -> None:
    lines = []
    for name, code, *message in errors:
        if code not in (0, TopicAlreadyExistsError.errno):
            reason = message[0] if message and message[0] else for_code(code).__name__
            lines.append(f"Topic {name} cannot be made: {reason}")
    if lines:
        raise TopicsDiffer("\n".join(lines))


def _shape_differences(spec: TopicSpec, found: list[dict[str, Any]], partitions: int, replication: int) -> list[str]:
    lines = []
    want = spec.partition_count(partitions)
    if len(found) != want:
        lines.append(
            f"Topic {spec.name} has {len(found)} partitions, expected {want}. The number is set once: set ATHENA_PARTITIONS "
            "to what the topic has, or make a new installation."
        )
    replicas = {len(partition["replicas"]) for partition in found}
    if replicas - {replication}:
        lines.append(
            f"Topic {spec.name} has {'/'.join(map(str, sorted(replicas)))} replicas, expected {replication}. "
            "Set ATHENA_REPLICATION_FACTOR, or reassign: kafka-reassign-partitions.sh"
        )
    return lines


async def _configs(admin: AIOKafkaAdminClient, wanted: list[tuple[str, dict[str, str]]]) -> dict[str, dict[str, str]]:
    if not wanted:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, configs=config) for name, config in wanted]
    result: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for code, message, _, name, entries in response.resources:
            if code != 0:
                raise StackError(
                    f"Topic {name}: its configuration cannot be read: {message or for_code(code).__name__}"
                )
            result[name] = {entry[0]: entry[1] for entry in entries}
    return result


@asynccontextmanager
async def _admin(kafka: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected admin client; waits for a broker that is starting."""
    deadline = time.monotonic() + REACH_TIME_OUT
    while True:
        admin = kafka.admin(request_timeout_ms=int(REQUEST_TIME_OUT * 1000))
        try:
            async with asyncio.timeout(REQUEST_TIME_OUT):
                await admin.start()
                await admin.list_topics()
            break
        except (KafkaError, OSError, TimeoutError) as error:
            await _close(admin)
            if time.monotonic() > deadline:
                raise StackError(f"Kafka at {kafka} did not answer within {REACH_TIME_OUT:.0f} s: {error!r}") from error
        await asyncio.sleep(POLL)
    try:
        async with asyncio.timeout(REACH_TIME_OUT):
            yield admin
    except (KafkaError, OSError, TimeoutError) as error:
        raise StackError(f"Kafka at {kafka} went away: {error!r}") from error
    finally:
        await _close(admin)


async def _close(admin: AIOKafkaAdminClient) -> None:
    try:
        async with asyncio.timeout(5):
            await admin.close()
    except (KafkaError, OSError, TimeoutError):
        return
