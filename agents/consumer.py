"""Faust's Kafka consumer with three defects mended.

Faust sets `fetch_max_wait_ms` to 1500, and the broker answers one connection in order: at recovery every offset look-up waited
behind a fetch that had nothing to bring, 1.5 s each time.

A partition for which the group has never committed an offset is not sought after recovery, and its first records stay unread until
something else moves it: seen on a worker killed before its first commit, whose acknowledged commands stood still for ever.

It is assigned the changelogs too, which `agents.restore` reads instead: fetched but never taken, each partition's first answer
would stay in memory, up to 1 MiB.

A fetch that comes back after a rebalance is taken for one of the new assignment, and the hole before it is committed past: see
`agents.continuity`.

Wraps `on_partitions_assigned`, `perform_seek`, `seek_to_committed`, `getmany` and `_create_worker_consumer` of faust-streaming
0.15.3.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import structlog
from aiokafka import TopicPartition
from faust.transport.drivers import aiokafka as driver

from agents.continuity import Continuity, Verdict
from agents.topology import TABLES

log = structlog.get_logger(__name__)

FETCH_WAIT_MS = 200


class PromptConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer


class PromptConsumer(driver.Consumer):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._order: Continuity[Any] = Continuity()

    def _new_consumer_thread(self) -> PromptConsumerThread:
        return PromptConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def on_partitions_assigned(self, assigned: Any, generation_id: int = 0) -> None:
        self._order.forget()
        changelogs = self.app.tables.changelog_topics
        kafka = self._thread._ensure_consumer()
        kafka.pause(*(TopicPartition(*tp) for tp in assigned if tp.topic in changelogs))
        await super().on_partitions_assigned(assigned, generation_id)

    async def perform_seek(self) -> None:
        """Called by Faust once tables are recovered. A partition without a committed offset begins at its first record."""
        await super().perform_seek()
        changelogs = self.app.tables.changelog_topics
        fresh = [tp for tp in self.assignment() if tp.topic not in changelogs and self._read_offset.get(tp) is None]
        if fresh:
            first = await self._thread.earliest_offsets(*fresh)
            for tp in fresh:
                await self.seek(tp, first[tp] or 0)
                self._order.begin(tp, first[tp] or 0)

    async def seek_to_committed(self) -> Mapping[Any, int]:
        """Go where the group stands; from here on nothing else may come first."""
        found: Mapping[Any, int] = await super().seek_to_committed()
        for tp, offset in found.items():
            if offset is not None and offset >= 0:
                self._order.begin(tp, offset)
        return found

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[Any, Any]]:
        """What was fetched, each source partition without a hole."""
        async for tp, message in super().getmany(timeout):
            if tp.topic in TABLES:
                wanted = self._order.expected(tp, message.offset)
                verdict = self._order.judge(tp, message.offset)
                if verdict is Verdict.SEEK:
                    log.warning(
                        "not the record that was sought; reading again", tp=str(tp), at=message.offset, wanted=wanted
                    )
                    await self.seek(tp, wanted)
                if verdict is not Verdict.DELIVER:
                    continue
                # Faust drops what is below its own reading position, which a record of an earlier assignment may have moved.
                self._read_offset[tp] = wanted - 1
            yield tp, message


class PromptTransport(driver.Transport):  # type: ignore[misc]
    """Faust's Kafka transport with a `PromptConsumer`."""

    Consumer = PromptConsumer
