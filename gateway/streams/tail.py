"""Whether the read side has all that was decided up to now."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from gateway.http.call import Call
from gateway.http.problems import Problem
from gateway.sql import updates
from schemas import topics

#: For one look. Who is told that it is not known comes again.
SECONDS = 3.0
_PAUSE = 0.1
_STOP_SECONDS = 1.0

Offsets = Mapping[TopicPartition, int]


async def is_applied(call: Call) -> bool:
    """Whether everything that was in `athena.audit` when this was called is applied; False also when that cannot be told in time.

    Between what is applied and the end may be markers of the workers' fencing alone, for as long as nothing else comes: nobody but
    a reader can tell.
    """
    try:
        async with asyncio.timeout(SECONDS), call.services.tails.turn():
            return await _is_applied(call)
    except (KafkaError, OSError, TimeoutError, Problem):
        return False


async def _is_applied(call: Call) -> bool:
    database, settings = call.services.database, call.services.settings
    consumer = settings.kafka.consumer(enable_auto_commit=False)
    try:
        await consumer.start()
        ends = await consumer.end_offsets(
            [TopicPartition(topics.AUDIT, number) for number in range(settings.partitions)]
        )
        while True:
            applied = await updates.applied(database)
            starts = {
                tp: applied.get(tp.partition, 0) for tp, end in ends.items() if applied.get(tp.partition, 0) < end
            }
            if not await _has_records(consumer, starts, ends):
                return True
            await asyncio.sleep(_PAUSE)
    finally:
        with contextlib.suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await consumer.stop()


async def _has_records(consumer: AIOKafkaConsumer, starts: Offsets, ends: Offsets) -> bool:
    """Whether there is a record between the two."""
    consumer.assign(list(starts))
    for tp, start in starts.items():
        consumer.seek(tp, start)
    left = set(starts)
    while left:
        found = await consumer.getmany(*left, timeout_ms=100)
        if any(records[0].offset < ends[tp] for tp, records in found.items() if records):
            return True
        left = {tp for tp in left if await consumer.position(tp) < ends[tp]}
    return False
