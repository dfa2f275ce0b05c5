"""Faust's Kafka consumer, changed in two ways: it resumes from PostgreSQL's offsets, and hands over whole polls.

When it asks the broker, `agents.fetching` and `ops.pace` say.

Faust delivers records one by one (0.09 ms of CPU each, `notes/platform.md`) and seeks to the group's committed offsets. Here each
poll becomes one message whose value is a `Poll`, and the next poll waits until that one is written: what arrives meanwhile makes
the next batch bigger. The offsets that count are those in `audit.applied_offsets`; the group's are for lag tools only.

Wraps private surface of faust-streaming 0.15.3 (`Consumer.getmany`, `perform_seek`, `_wait_next_records`): pinned in
pyproject.toml, tested on a real broker.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import structlog
from aiokafka.errors import KafkaError, KafkaTimeoutError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from agents.fetching import GatedConsumerThread
from agents.projector.ports import Unavailable
from agents.projector.reading import Reading, check_bounds
from agents.projector.record import Poison
from ops.kafka_driver import check_hearing
from ops.pace import Pace
from schemas import topics

log = structlog.get_logger(__name__)

ASK_TIME_OUT = 30.0
LOOK_TIME_OUT = 5.0
#: What the wait between polls comes near to as the stream gets busier: what a reader may be behind, half of it on average. A batch
#: costs about 0.6 ms of CPU here and 1.2 ms in PostgreSQL before its first record, and 0.05 ms and 0.1 ms for each record; several
#: events of one request in one batch are one write of its rows (measured on two cores).
LONGEST_WAIT_S = 0.15
#: A batch this big follows a backlog: no wait.
BACKLOG = 400


class PollConsumer(driver.Consumer):  # type: ignore[misc]
    """`app.positions(partitions)` answers where to begin; `app.stop_for(poison)` ends the process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reading = Reading()
        self._written = asyncio.Event()
        self._written.set()
        self._pace = Pace(LONGEST_WAIT_S, backlog=BACKLOG)

    def _new_consumer_thread(self) -> GatedConsumerThread:
        return GatedConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def epoch(self) -> int:
        """Which polls count."""
        return self.reading.epoch

    def poll_written(self, epoch: int) -> None:
        """The agent is done with the poll: the next may come."""
        if epoch == self.epoch:
            self._written.set()

    def resync(self) -> None:
        """Go to the offsets that PostgreSQL names before the next poll; records under way are void."""
        self.reading.resync()
        self._written.set()

    def applied(self) -> dict[TP, int]:
        """Where reading is, by partition that is ours; nothing before the offsets that PostgreSQL names were sought."""
        if not self.reading.sought:
            return {}
        ours = {tp.partition for tp in self._ours()}
        return {TP(topics.AUDIT, number): offset for number, offset in self.reading.next.items() if number in ours}

    def assigned(self) -> bool:
        """Whether the group has given us a partition of `athena.audit`."""
        return bool(self._ours())

    def _ours(self) -> list[TP]:
        try:
            return [tp for tp in self.assignment() if tp.topic == topics.AUDIT]
        except ConsumerNotStarted:
            return []

    @property
    def joining(self) -> bool:
        """Whether the group has yet to say which partitions are ours."""
        try:
            return bool(self._thread._ensure_consumer()._subscription.reassignment_in_progress)
        except ConsumerNotStarted:
            return True

    async def look(self, applied: Mapping[int, int]) -> Mapping[TP, int]:
        """Where each partition that is ours ends now. On the way the group is told how far we are, for lag tools only.

        Raises:
            Deaf: this consumer hears of nothing more.
            KafkaError: the broker did not answer within `LOOK_TIME_OUT`.
        """
        offsets = {TopicPartition(*tp): OffsetAndMetadata(applied.get(tp.partition, 0), "") for tp in self.applied()}
        found: Mapping[TP, int] = await self._thread.call_thread(self._look, offsets)
        return found

    async def _look(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> Mapping[TP, int]:
        """In the consumer's thread. Bounded there: a call that nobody waits for any more goes on, and holds up the fetches."""
        consumer = self._thread._ensure_consumer()
        check_hearing(consumer)
        if not offsets:
            return {}
        try:
            async with asyncio.timeout(LOOK_TIME_OUT):
                ends = await consumer.end_offsets(list(offsets))
        except TimeoutError as error:
            raise KafkaTimeoutError from error
        try:
            async with asyncio.timeout(LOOK_TIME_OUT):
                await consumer.commit(offsets)
        except (KafkaError, TimeoutError) as error:  # a rebalance, say: the next look will do
            log.debug("offsets were not committed", error=repr(error))
        return {TP(*tp): end for tp, end in ends.items()}

    def position_of(self, tp: TP) -> int | None:
        """Where the next fetched record would be: past control records, which are never handed out."""
        assignment = self._thread._ensure_consumer()._subscription.subscription.assignment
        state = assignment.state_value(TopicPartition(*tp)) if assignment is not None else None
        return None if state is None or not state.has_valid_position else int(state.position)

    async def perform_seek(self) -> None:
        """Called by Faust after every assignment: PostgreSQL may be away just now, so the seek is done at the next poll."""
        self.resync()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """One message for each poll that brought records."""
        if not await self._turn(timeout):
            return
        epoch = self.epoch
        if self.flow_active and not self.reading.sought and not await self._seek_to_applied(epoch):
            await self.sleep(0.2)
            return
        await asyncio.sleep(self._pace.wait(time.monotonic()))
        records, _ = await self._wait_next_records(timeout)
        if self.should_stop or not records:
            return
        if not self.flow_active:
            self.resync()
            return
        poll = self.reading.take(
            epoch,
            {tp.partition: found for tp, found in records.items()},
            {tp.partition: self.position_of(tp) for tp in records},
        )
        if poll is None:
            return
        self._written.clear()
        self._pace.delivered(sum(len(part.records) for part in poll.slices), time.monotonic())
        first = poll.slices[0]
        newest = first.records[-1]
        tp = TP(topics.AUDIT, first.partition)
        # Faust drops what is below its own reading position; ours are in `reading`.
        self._read_offset[tp] = None
        yield (
            tp,
            ConsumerMessage(
                tp.topic, tp.partition, newest.offset, newest.timestamp / 1000.0, newest.timestamp_type, (), None,
                poll, None, 0, 0, tp=tp, generation_id=self.app.consumer_generation_id,
            ),
        )  # fmt: skip

    async def _turn(self, timeout: float) -> bool:
        """Wait until the poll before is written."""
        if self._written.is_set():
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._written.wait()
        return self._written.is_set()

    async def _seek_to_applied(self, epoch: int) -> bool:
        """Seek every partition to where PostgreSQL stands; False when that must be tried again."""
        assigned = self._ours()
        if not assigned:
            return False
        positions: Callable[[list[int]], Awaitable[dict[int, int]]] = self.app.positions
        try:
            async with asyncio.timeout(ASK_TIME_OUT):
                found = await positions([tp.partition for tp in assigned])
                ends = await self._thread.highwaters(*assigned)
                begins = await self._thread.earliest_offsets(*assigned)
                target = {tp: found[tp.partition] for tp in assigned}
                for tp, offset in target.items():
                    check_bounds(tp.partition, offset, begins[tp], ends[tp])
                await self.seek_wait(target)
        except (Unavailable, KafkaError, TimeoutError, RuntimeError, AssertionError) as error:
            log.warning("cannot seek to the applied offsets yet", error=repr(error))
            return False
        except Poison as poison:
            await self.app.stop_for(poison)
            return False
        if epoch != self.epoch or not self.flow_active:
            return False
        for tp in assigned:
            self._read_offset[tp] = None
        self.reading.begin({tp.partition: offset for tp, offset in target.items()})
        self.app.on_sought(target, ends)
        return True


class PollTransport(driver.Transport):  # type: ignore[misc]
    """Faust's Kafka transport with a `PollConsumer`."""

    Consumer = PollConsumer
