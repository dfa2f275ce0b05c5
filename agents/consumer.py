"""Faust's Kafka consumer: it hands over whole polls, and has three defects mended.

Faust delivers records one by one, at 0.09 ms of CPU each (`notes/platform.md`). Here what one poll brought of a topic is one
message, whose value is a `Polled`; each of its records is acknowledged by itself, and committed by Faust's own rule.

Faust sets `fetch_max_wait_ms` to 1500, and the broker answers one connection in order: at recovery every offset look-up waited
behind a fetch that had nothing to bring, 1.5 s each time.

A partition for which the group has never committed an offset is not sought after recovery, and its first records stay unread until
something else moves it: seen on a worker killed before its first commit, whose acknowledged commands stood still for ever.

It is assigned the changelogs too, which `agents.restore` reads instead: fetched but never taken, each partition's first answer
would stay in memory, up to 1 MiB.

A fetch that comes back after a rebalance is taken for one of the new assignment, and the hole before it is committed past: see
`agents.continuity`.

Wraps `on_partitions_assigned`, `perform_seek`, `seek_to_committed`, `getmany` and `_create_worker_consumer` of faust-streaming
0.15.3, and keeps `_acked` and `_gap`, what `Consumer.ack` and `_add_gap` keep.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import ConsumerMessage

from agents.continuity import Continuity, Verdict
from agents.fetching import GatedConsumerThread
from agents.topology import TABLES
from ops.pace import Pace

log = structlog.get_logger(__name__)

#: Under load polls are so far apart, in seconds: the shards' batches become bigger, and a command waits half of it on average.
LONGEST_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Polled:
    """Records (aiokafka's) of one topic by (topic, partition), in order."""

    records: Mapping[Any, Sequence[Any]]


class PromptConsumerThread(GatedConsumerThread):
    fetch_wait_ms = 200


class PromptConsumer(driver.Consumer):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._order: Continuity[Any] = Continuity()
        self._pace = Pace(LONGEST_PAUSE_S)

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
        """One message for each topic of which something was fetched; each source partition without a hole."""
        await asyncio.sleep(self._pace.wait(time.monotonic()))
        records, active = await self._wait_next_records(timeout)
        if self.should_stop or not records:
            return
        self._pace.delivered(sum(map(len, records.values())), time.monotonic())
        if not self.flow_active:
            await self._seek_back()
            return
        generation = self.app.consumer_generation_id
        polled: defaultdict[str, dict[Any, Sequence[Any]]] = defaultdict(dict)
        for tp, found in records.items():
            wanted = active is None or tp in active or tp in self._buffered_partitions
            if tp.topic in TABLES and wanted and (delivered := await self._in_order(tp, found)):
                polled[tp.topic][tp] = delivered
        for by_partition in polled.values():
            # What is not handed on then comes again: what was committed is sought before the flow goes on.
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return
            first = next(iter(by_partition))
            yield first, self._message(first, Polled(by_partition), generation)

    async def _seek_back(self) -> None:
        """As Faust does when the flow was stopped while a fetch was under way."""
        try:
            await self.perform_seek()
        except Exception as error:
            log.warning("cannot seek back yet", error=repr(error))

    async def _in_order(self, tp: Any, found: Sequence[Any]) -> list[Any]:
        delivered = []
        for record in found:
            wanted = self._order.expected(tp, record.offset)
            verdict = self._order.judge(tp, record.offset)
            if verdict is Verdict.SEEK:
                log.warning(
                    "not the record that was sought; reading again", tp=str(tp), at=record.offset, wanted=wanted
                )
                await self.seek(tp, wanted)
            if verdict is not Verdict.DELIVER:
                continue
            if record.offset > wanted:
                await self._add_gap(tp, wanted, record.offset - 1)
            delivered.append(record)
        return delivered

    def _message(self, tp: Any, polled: Polled, generation: int) -> ConsumerMessage:
        newest = polled.records[tp][-1]
        # Faust drops what is below its own reading position, which a record of an earlier assignment may have moved, and takes what
        # it has not seen before the newest record for a hole.
        self._read_offset[tp] = None
        return ConsumerMessage(
            tp.topic, tp.partition, newest.offset, newest.timestamp / 1000.0, newest.timestamp_type, (), None, polled,
            None, 0, 0, tp=tp, generation_id=generation,
        )  # fmt: skip

    def done(self, tp: Any, offset: int) -> None:
        """The record at that offset is done: as `Consumer.ack` of its message."""
        committed, index = self._committed_offset[tp], self._acked_index[tp]
        if (committed is None or offset >= committed) and offset not in index:
            index.add(offset)
            self._acked[tp].append(offset)


class PromptTransport(driver.Transport):  # type: ignore[misc]
    """Faust's Kafka transport with a `PromptConsumer`."""

    Consumer = PromptConsumer
