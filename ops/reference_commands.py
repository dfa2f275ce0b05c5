"""Sends reference-data commands to the worker and waits for what became of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ops.kafka_clients import Kafka
from ops.log_reader import partitions_of
from ops.stack.errors import StackError
from schemas import topics
from schemas.base import plain, rfc3339
from schemas.envelope import headers
from schemas.outcomes import Outcome
from schemas.reference import PutEntity, ReferenceCommand, entity_key

SOURCE = "/athena/ops"
#: Seconds for a broker that does not answer, and for one fetch.
REACH_TIME_OUT = 30.0
POLL = 0.25


async def send(
    kafka: Kafka,
    commands: Sequence[ReferenceCommand],
    timeout: float,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Outcome]:
    """Send all in this order, then wait until each has its outcome: command id -> outcome. `timeout` in seconds.

    `progress(done, of)` is called as outcomes come in.

    Raises:
        StackError: the broker cannot be reached (30 s), or outcomes are missing after `timeout`; commands that were sent
            may still take effect, and sending the same ids again is safe.
    """
    consumer = kafka.consumer(enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=50)
    producer = kafka.producer(enable_idempotence=True, acks="all", request_timeout_ms=20_000)
    try:
        async with asyncio.timeout(REACH_TIME_OUT):
            await consumer.start()
            await _from_the_end(consumer)
            await producer.start()
            sent = [await producer.send(topics.REFERENCE_COMMANDS, **_record(command)) for command in commands]
            await asyncio.gather(*sent)
        return await _outcomes(consumer, {command.command_id for command in commands}, timeout, progress)
    except (KafkaError, OSError, TimeoutError) as error:
        raise StackError(
            f"Kafka at {kafka} did not answer in time: {error!r}. Is the stack up? See: athena status"
        ) from error
    finally:
        for client in (consumer, producer):
            try:
                async with asyncio.timeout(5):
                    await client.stop()
            except (KafkaError, OSError, TimeoutError):
                continue


async def _from_the_end(consumer: AIOKafkaConsumer) -> None:
    """Assign all partitions of the outcomes at the positions they have now."""
    assigned = [
        TopicPartition(topics.OUTCOMES, partition) for partition in await partitions_of(consumer, topics.OUTCOMES)
    ]
    consumer.assign(assigned)
    for partition, end in (await consumer.end_offsets(assigned)).items():
        consumer.seek(partition, end)


def _record(command: ReferenceCommand) -> dict[str, object]:
    kind = command.body.kind if isinstance(command, PutEntity) else command.kind
    key = entity_key(kind, command.entity_id)
    return {
        "key": key.encode(),
        "value": orjson.dumps(plain(command)),
        "headers": headers(
            id_=command.command_id,
            type_=f"athena.{type(command).__name__}",
            source=SOURCE,
            time=rfc3339(time.time_ns() // 1_000_000),
            subject=key,
            correlation_id=command.correlation_id,
        ),
    }


async def _outcomes(
    consumer: AIOKafkaConsumer, waiting: set[str], timeout: float, progress: Callable[[int, int], None]
) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    of = len(waiting)
    deadline = time.monotonic() + timeout
    while waiting:
        if time.monotonic() > deadline:
            raise StackError(
                f"{len(waiting)} of {of} changes of reference data have no outcome after {timeout:.0f} s. Does the worker run? "
                "See: athena status. Repeating is safe."
            )
        for records in (await consumer.getmany(timeout_ms=int(POLL * 1000), max_records=500)).values():
            for record in records:
                # Fence markers have no JSON.
                if not record.value or not record.value.startswith(b"{"):
                    continue
                command_id = orjson.loads(record.value).get("command_id")
                if command_id in waiting:
                    waiting.discard(command_id)
                    found[command_id] = Outcome.model_validate_json(record.value)
                    progress(len(found), of)
    return found
