"""What our Kafka clients do when a broker hangs up at the wrong moment, on the event loops of the services."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from gateway.streams.outcomes import Outcomes
from schemas import topics
from tests.client import Api, submission
from tests.stack import Stack

LOOPS = (asyncio.new_event_loop, uvloop.new_event_loop)
#: Longer than a fetch that finds nothing.
SECONDS = 20.0
TP = TopicPartition(topics.AUDIT, 0)


def run(loop: Callable[[], asyncio.AbstractEventLoop], work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(work, SECONDS * 2))


@asynccontextmanager
async def reading(stack: Stack) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that reads `TP` from its beginning."""
    consumer = stack.kafka.consumer(enable_auto_commit=False, fetch_max_wait_ms=100)
    await consumer.start()
    try:
        consumer.assign([TP])
        await consumer.seek_to_beginning(TP)
        yield consumer
    finally:
        await consumer.stop()


async def hang_up(consumer: AIOKafkaConsumer) -> AIOKafkaConnection:
    """Its connection is lost, and aiokafka has yet to be told."""
    line: AIOKafkaConnection = next(line for line in consumer._client._conns.values() if line._writer is not None)
    line._writer.transport.abort()
    await asyncio.sleep(0)
    return line


def hang_up_at_next_request(consumer: AIOKafkaConsumer) -> asyncio.Event:
    """The connection is lost when the next request has looked at it, and before it is sent; set once it was."""
    client, done = consumer._client, asyncio.Event()
    ready = client.ready

    async def ready_and_lost(*arguments: Any, **options: Any) -> bool:
        client.ready = ready
        found: bool = await ready(*arguments, **options)
        await hang_up(consumer)
        done.set()
        return found

    client.ready = ready_and_lost
    return done


@pytest.mark.parametrize("loop", LOOPS)
def test_a_request_on_a_connection_that_was_just_lost_fails_as_a_lost_connection(
    stack: Stack, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Else the driver takes it for a bug, and stops fetching, sending or committing for as long as the process lives."""

    async def lost() -> None:
        async with reading(stack) as consumer:
            line = await hang_up(consumer)
            with pytest.raises(KafkaConnectionError):
                await line.send(MetadataRequest([]))

    run(loop, lost())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_consumer_reads_on_after_it_was_hung_up_on(
    stack: Stack, api: Api, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Else the gateway hears of no outcome any more."""

    async def reads_on() -> None:
        async with reading(stack) as consumer:
            for _ in range(3):
                assert (await consumer.getmany(timeout_ms=int(SECONDS * 1000))).get(TP)
                lost = hang_up_at_next_request(consumer)
                await asyncio.wait_for(lost.wait(), SECONDS)
                await consumer.seek_to_beginning(TP)

    for _ in range(8):  # so that there is something in that partition
        api.submit()
    run(loop, reads_on())


def test_a_consumer_that_fetches_no_more_says_so(stack: Stack) -> None:
    """Else it answers every poll with nothing, for ever."""

    async def says_so() -> None:
        async with reading(stack) as consumer:
            await consumer.getmany(timeout_ms=5000)
            _break(consumer)
            with pytest.raises(KafkaError, match="must be made anew"):
                while True:
                    await consumer.getmany(timeout_ms=100)

    run(asyncio.new_event_loop, says_so())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("turns", range(6))
def test_a_consumer_that_has_just_been_told_what_to_read_stops(
    stack: Stack, loop: Callable[[], asyncio.AbstractEventLoop], turns: int
) -> None:
    """Else whoever looked up where the log ends, and ran out of time, waits for ever, and so do all who come after."""

    async def stops() -> None:
        consumer = stack.kafka.consumer(enable_auto_commit=False)
        await consumer.start()
        consumer.assign([TP])
        await consumer.seek_to_beginning(TP)
        while not consumer._fetcher._pending_tasks:  # until it asks for more than there is
            await consumer.getmany(timeout_ms=50)
        consumer.assign([TopicPartition(topics.AUDIT, 1)])
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.wait_for(consumer.stop(), SECONDS)
        assert not any(line.connected() for line in consumer._client._conns.values())

    run(loop, stops())


def test_a_gateway_whose_consumer_fetches_no_more_makes_a_new_one(stack: Stack, api: Api) -> None:
    """Else each POST waits in vain, as long as that process lives."""

    async def hears() -> None:
        made: list[AIOKafkaConsumer] = []
        again = asyncio.Event()

        def consumer(**options: Any) -> AIOKafkaConsumer:
            made.append(stack.kafka.consumer(**options))
            if len(made) == 2:
                again.set()
            return made[-1]

        key = str(uuid.uuid4())
        answer = await asyncio.to_thread(api.post, "sam.sales", "/requests", submission(), key=key)
        command_id = answer.headers["Command-Id"]
        outcomes = Outcomes(stack.kafka, 4, consumer)
        await outcomes.start()
        try:
            _break(made[0])
            await asyncio.wait_for(again.wait(), SECONDS)
            waiter = outcomes.expect(command_id)
            await asyncio.to_thread(api.post, "sam.sales", "/requests", submission(), key=key)
            assert await waiter.next() is not None
        finally:
            await outcomes.stop()

    run(asyncio.new_event_loop, hears())


def _break(consumer: AIOKafkaConsumer) -> None:
    """Let its fetcher find a bug in itself."""

    def broken(_assignment: object) -> None:
        raise ZeroDivisionError("on purpose")

    consumer._fetcher._get_actions_per_node = broken
    consumer._fetcher._notify(consumer._fetcher._wait_consume_future)
