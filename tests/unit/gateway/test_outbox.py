"""Records of calls that come together leave together, in order, each acknowledged by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError, ProducerClosed
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import RecordMetadata

from gateway.streams import outbox as module
from gateway.streams.outbox import MAX_BATCH_BYTES, MAX_RECORD_BYTES, Outbox, Sent
from gateway.streams.pace import LONGEST

PARTITIONS = 4


class Driver:
    """Notes each batch as (partition, values, when); acknowledges at once, unless `silent` or it fails with `error`."""

    def __init__(self) -> None:
        self.silent = False
        self.error: Exception | None = None
        self.lost_place = False
        self.batches: list[tuple[int, list[bytes], float]] = []
        self.underway: list[asyncio.Future[RecordMetadata]] = []
        self._ends = dict.fromkeys(range(PARTITIONS), 0)

    async def partitions_for(self, _: str) -> set[int]:
        return set(range(PARTITIONS))

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(MAX_BATCH_BYTES, 0)

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> asyncio.Future[RecordMetadata]:
        if isinstance(self.error, ProducerClosed):
            raise self.error
        loop = asyncio.get_running_loop()
        values = list(_values(bytes(batch._build())))
        self.batches.append((partition, values, loop.time()))
        done: asyncio.Future[RecordMetadata] = loop.create_future()
        first, self._ends[partition] = self._ends[partition], self._ends[partition] + len(values)
        answer = RecordMetadata(topic, partition, None, -1 if self.lost_place else first, 0, 0, 0)
        if self.error is not None:
            done.set_exception(self.error)
        elif self.silent:
            self.underway.append(done)
        else:
            loop.call_soon(done.set_result, answer)
        return done

    @property
    def values(self) -> list[bytes]:
        return [value for _, values, _ in self.batches for value in values]


def _values(data: bytes) -> Iterator[bytes]:
    records = MemoryRecords(data)
    while records.has_next():
        for record in records.next_batch():
            yield record.value


def told(story: Callable[[Outbox, Driver], Awaitable[None]]) -> None:
    async def begin() -> None:
        driver = Driver()
        outbox = Outbox(driver)  # type: ignore[arg-type]
        async with asyncio.timeout(10):
            await story(outbox, driver)
            await outbox.close()

    asyncio.run(begin())


def send(outbox: Outbox, *values: bytes, key: bytes = b"key") -> asyncio.Task[list[Sent]]:
    return asyncio.create_task(outbox.send("athena.commands", [(key, value, []) for value in values]))


def test_calls_that_come_together_leave_in_one_batch_for_each_partition() -> None:
    """A request to the broker for each command would cost more than the command."""

    async def story(outbox: Outbox, driver: Driver) -> None:
        keys = [str(number).encode() for number in range(40)]
        sent = await asyncio.gather(*(send(outbox, key, key=key) for key in keys))
        assert len(driver.batches) == PARTITIONS and len({at for *_, at in driver.batches}) <= PARTITIONS
        for key, (one,) in zip(keys, sent, strict=True):
            partition = DefaultPartitioner()(key, list(range(PARTITIONS)), [])
            values = next(values for at, values, _ in driver.batches if at == partition)
            assert values[one.offset] == key, "each call hears the offset of its own record"

    told(story)


def test_a_quiet_gateway_keeps_nobody_waiting() -> None:
    """Every approval would take longer, for nothing."""

    async def story(outbox: Outbox, driver: Driver) -> None:
        for _ in range(10):
            began = asyncio.get_running_loop().time()
            await send(outbox, b"one")
            assert driver.batches[-1][2] - began < LONGEST / 2
            await asyncio.sleep(0.025)

    told(story)


def test_a_busy_gateway_gathers_and_never_longer_than_the_bound() -> None:
    """Under load each command would cost a request, or wait for ever for others to come."""

    async def story(outbox: Outbox, driver: Driver) -> None:
        waits: list[float] = []

        async def lane() -> None:
            loop = asyncio.get_running_loop()
            for _ in range(60):
                began = loop.time()
                await send(outbox, b"one")
                waits.append(loop.time() - began)
                await asyncio.sleep(0.001 * (len(waits) % 5))

        await asyncio.gather(*(lane() for _ in range(8)))
        assert len(driver.batches) < len(driver.values) / 3
        assert sorted(waits)[len(waits) // 2] < LONGEST * 2

    told(story)


def test_records_of_one_call_stand_in_its_order_behind_what_is_underway() -> None:
    """A batch would overtake the one before it, and a file of reference data would be taken over in another order."""

    async def story(outbox: Outbox, driver: Driver) -> None:
        driver.silent = True
        first = send(outbox, b"0")
        await asyncio.sleep(0.02)
        later = [send(outbox, *(b"%d.%d" % (number, each) for each in range(50))) for number in range(1, 4)]
        await asyncio.sleep(0.05)
        assert driver.values == [b"0"], "one batch at a time"
        driver.silent = False
        driver.underway[0].set_result(RecordMetadata("athena.commands", 0, None, 0, 0, 0, 0))
        found = await asyncio.gather(first, *later)
        assert [one.offset for sent in found for one in sent] == list(range(151))
        assert driver.values[1:] == [b"%d.%d" % (number, each) for number in range(1, 4) for each in range(50)]

    told(story)


def test_what_is_large_is_a_batch_by_itself_and_what_is_too_large_is_refused() -> None:
    """The broker would refuse a batch beyond its limit, with everybody's commands in it."""

    async def story(outbox: Outbox, driver: Driver) -> None:
        large = b"x" * (MAX_BATCH_BYTES + 1)
        sent = await asyncio.gather(send(outbox, b"a"), send(outbox, large), send(outbox, b"b"))
        assert [[one.offset for one in each] for each in sent] == [[0], [1], [2]]
        assert [values for _, values, _ in driver.batches] == [[b"a"], [large], [b"b"]]
        with pytest.raises(MessageSizeTooLargeError):
            await send(outbox, b"x" * MAX_RECORD_BYTES)
        await asyncio.gather(*(send(outbox, b"y" * 300_000) for _ in range(7)))
        assert max(sum(map(len, values)) for _, values, _ in driver.batches[3:]) <= MAX_BATCH_BYTES

    told(story)


def test_who_has_waited_too_long_takes_back_what_is_not_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """While no broker answers, what nobody waits for any more would be held, and sent all at once when it comes back."""
    monkeypatch.setattr(module, "SEND_SECONDS", 0.1)

    async def story(outbox: Outbox, driver: Driver) -> None:
        driver.silent = True
        first = send(outbox, b"first")
        await asyncio.sleep(0.02)
        found = await asyncio.gather(first, *(send(outbox, b"later") for _ in range(50)), return_exceptions=True)
        assert {type(one) for one in found} == {TimeoutError}
        gone = send(outbox, b"gone")
        await asyncio.sleep(0.02)
        gone.cancel()
        await asyncio.wait([gone])
        driver.silent = False
        driver.underway[0].set_result(RecordMetadata("athena.commands", 0, None, 0, 0, 0, 0))
        assert (await send(outbox, b"new"))[0].offset == 1
        assert driver.values == [b"first", b"new"] and outbox._ready == 0

    told(story)


def test_a_batch_that_fails_fails_its_calls_and_no_other() -> None:
    """One error would keep a partition shut for good, or be taken for an acknowledgement."""

    async def story(outbox: Outbox, driver: Driver) -> None:
        for error in (KafkaTimeoutError("late"), ProducerClosed("closed")):
            driver.error = error
            found = await asyncio.gather(*(send(outbox, b"lost") for _ in range(3)), return_exceptions=True)
            assert [type(one) for one in found] == [type(error)] * 3
        driver.error = None
        assert len(await send(outbox, b"one")) == 1

    told(story)


def test_a_record_whose_place_the_broker_has_forgotten_is_at_none() -> None:
    """A repeated batch would be answered with the outcome of whoever stands at the offsets 0, 1, 2."""

    async def story(outbox: Outbox, driver: Driver) -> None:
        driver.lost_place = True
        assert await send(outbox, b"one", b"two") == [Sent(-1), Sent(-1)]

    told(story)


def test_what_waits_when_it_ends_is_told() -> None:
    """Calls would wait for their time-out when the producer is made anew."""

    async def story(outbox: Outbox, driver: Driver) -> None:
        driver.silent = True
        calls = [send(outbox, b"on its way")]
        await asyncio.sleep(0.02)
        calls.append(send(outbox, b"waits"))
        await asyncio.sleep(0.02)
        await outbox.close()
        calls.append(send(outbox, b"late"))
        driver.underway[0].set_result(RecordMetadata("athena.commands", 0, None, 0, 0, 0, 0))
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert found[0] == [Sent(0)]
        assert [type(one) for one in found[1:]] == [ProducerClosed, ProducerClosed]

    told(story)
