"""Reads a topic from its beginning to where it ends now, without a consumer group, in bounded memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ops.kafka_clients import Kafka
from ops.stack.errors import StackError

REACH_TIME_OUT = 30.0
#: Seconds without a record although the end is not reached.
STALL_LIMIT = 30.0
POLL_RECORDS = 2_000


async def read_all(kafka: Kafka, topic: str) -> AsyncIterator[Any]:
    """Yield every record (aiokafka's) of all partitions, each partition in order.

    Raises:
        StackError: the broker or the topic cannot be reached, or reading stands still for 30 s.
    """
    consumer = kafka.consumer(
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_records=POLL_RECORDS,
    )
    try:
        async with asyncio.timeout(REACH_TIME_OUT):
            await consumer.start()
            assigned = [TopicPartition(topic, number) for number in await partitions_of(consumer, topic)]
            consumer.assign(assigned)
            await consumer.seek_to_beginning(*assigned)
            ends = await consumer.end_offsets(assigned)
        moved = time.monotonic()
        while not await _at_end(consumer, ends):
            found = await consumer.getmany(timeout_ms=500)
            for partition, records in found.items():
                for record in records:
                    if record.offset < ends[partition]:
                        yield record
            if found:
                moved = time.monotonic()
            elif time.monotonic() - moved > STALL_LIMIT:
                raise StackError(f"Kafka at {kafka} gave nothing of {topic} for {STALL_LIMIT:.0f} s")
    except (KafkaError, OSError, TimeoutError) as error:
        raise StackError(f"Kafka at {kafka} did not answer: {error!r}. Is the stack up? See: athena status") from error
    finally:
        await consumer.stop()


async def partitions_of(consumer: AIOKafkaConsumer, topic: str) -> list[int]:
    """The partitions of a topic that the consumer is not subscribed to; none while it does not exist."""
    found = await consumer._client._wait_on_metadata(topic)
    return sorted(found or ())


async def _at_end(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    for partition, end in ends.items():
        if await consumer.position(partition) < end:
            return False
    return True
