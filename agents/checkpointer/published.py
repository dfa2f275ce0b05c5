"""Reads what was published on `athena.checkpoints`: the newest checkpoint of a partition."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import ValidationError

from agents.checkpointer.growth import Contradiction
from schemas import topics
from schemas.checkpoints import CheckpointRecord

READ_TIME_OUT = 20.0
#: Offsets looked through at first, from the end: markers of the writers' fence lie among the records.
FIRST_LOOK = 16


async def newest(reader: AIOKafkaConsumer, partition: int) -> CheckpointRecord | None:
    """The last checkpoint of a partition, None when there is none. `reader` has no group, and is given that partition.

    Raises:
        Contradiction: what lies there is no checkpoint.
        TimeoutError: Kafka did not give it within 20 s.
    """
    tp = TopicPartition(topics.CHECKPOINTS, partition)
    async with asyncio.timeout(READ_TIME_OUT):
        begin = (await reader.beginning_offsets([tp]))[tp]
        until = (await reader.end_offsets([tp]))[tp]
        reader.assign([tp])
        look = FIRST_LOOK
        while until > begin:
            since = max(begin, until - look)
            reader.seek(tp, since)
            found = None
            while await reader.position(tp) < until:
                for records in (await reader.getmany(tp, timeout_ms=200)).values():
                    found = next((one for one in reversed(records) if one.offset < until), found)
            if found is not None:
                reader.unsubscribe()
                try:
                    return CheckpointRecord.model_validate_json(found.value or b"")
                except ValidationError as error:
                    raise Contradiction(f"no checkpoint at offset {found.offset} of {topics.CHECKPOINTS}") from error
            until, look = since, look * 8
        reader.unsubscribe()
    return None
