"""aiokafka 0.14.0, with four defects mended that end a client, or whoever uses it, in silence.

uvloop refuses to write on a connection that the other side has reset, by a RuntimeError where asyncio says nothing, and aiokafka
takes that for a bug of its own: the task that fetches, sends or commits ends for good (aio-libs/aiokafka#1038). And a consumer
whose fetching has ended answers every poll with nothing, for ever. Seen on a gateway that heard of no outcome any more.
To stop a consumer whose request has just failed cancels whoever stops it; to stop one just after `assign` may take for ever.

Wraps `AIOKafkaConnection.send`, uses `Fetcher._fetch_task` and `_pending_tasks`: pinned in pyproject.toml, tested on a real broker.
"""

from __future__ import annotations

import asyncio
from functools import wraps
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError

__all__ = ["AIOKafkaAdminClient", "AIOKafkaProducer", "Consumer", "Deaf", "check_hearing"]

#: A task that did not end when it was told to is told again after so long.
AGAIN_SECONDS = 0.1

_send = AIOKafkaConnection.send


@wraps(_send)
def _send_if_open(self: Any, *arguments: Any, **options: Any) -> Any:
    """As aiokafka's, and raises KafkaConnectionError too where the other side has closed."""
    if self._writer is not None and self._writer.is_closing():
        self.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"the connection to {self.host}:{self.port} was closed by the other side")
    return _send(self, *arguments, **options)


AIOKafkaConnection.send = _send_if_open


class Deaf(KafkaError):  # type: ignore[misc]
    """A consumer that was started hears of nothing more: it must be made anew."""


def check_hearing(consumer: AIOKafkaConsumer) -> None:
    """Raises Deaf when a consumer fetches no more, or has left its group for good. aiokafka's own polls look at the group alone,
    and Faust's at neither.
    """
    if consumer._closed:
        return
    if _has_ended(consumer):
        error = consumer._fetcher._fetch_task.exception()
        raise Deaf(f"a consumer fetches no more, and must be made anew: {error!r}") from error
    try:
        if consumer._coordinator is not None:
            consumer._coordinator.check_errors()
    except Exception as error:
        raise Deaf(f"a consumer's group has failed, and it must be made anew: {error!r}") from error


def _has_ended(consumer: AIOKafkaConsumer) -> bool:
    """Whether its fetching has failed for good."""
    task = consumer._fetcher and consumer._fetcher._fetch_task
    return task is not None and task.done() and not task.cancelled()


class Consumer(AIOKafkaConsumer):  # type: ignore[misc]
    """aiokafka's; a poll raises Deaf once it hears of nothing more, and it can be stopped all the same."""

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        check_hearing(self)
        found: dict[TopicPartition, list[ConsumerRecord]] = await super().getmany(
            *partitions, timeout_ms=timeout_ms, max_records=max_records
        )
        return found

    async def getone(self, *partitions: TopicPartition) -> ConsumerRecord:
        check_hearing(self)
        return await super().getone(*partitions)

    async def stop(self) -> None:
        had_ended = not self._closed and _has_ended(self)
        if self._fetcher is not None and not self._closed:
            await _end(self._fetcher)
        try:
            await super().stop()
        except KafkaError:
            if not had_ended:
                raise
            # A poll has said why; aiokafka's own leaves the connections open then.
            await self._client.close()


async def _end(fetcher: Any) -> None:
    """aiokafka's own `close` raises CancelledError, as if its caller were meant, while a request that failed is to be repeated; and
    waits for ever just after `assign`, when its fetcher takes the end for that of a request of the assignment before.
    """
    for tasks in ({fetcher._fetch_task}, fetcher._pending_tasks):
        left = set(tasks)
        while left:
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)
    fetcher._pending_tasks.clear()
