"""Sends while no broker answers: bounded in number and in time, and a producer that failed for good is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest
from aiokafka.errors import OutOfOrderSequenceNumber, RequestTimedOutError
from aiokafka.producer.message_accumulator import BatchBuilder

from gateway.http.problems import Problem
from gateway.streams import outbox
from gateway.streams import producer as module
from gateway.streams.outbox import Outbox
from gateway.streams.producer import Producer
from ops.kafka_clients import Kafka


class Driver:
    """Fails each batch with `error`; None: never answers."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.sends = 0

    async def partitions_for(self, _: str) -> set[int]:
        return {0, 1}

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(module.MAX_BATCH_BYTES, 0)

    async def send_batch(self, batch: BatchBuilder, _: str, *, partition: int) -> Any:
        self.sends += batch.record_count()
        future = asyncio.get_running_loop().create_future()
        if self.error is not None:
            future.set_exception(self.error)
        return future

    async def stop(self) -> None:
        pass


def send(producer: Producer) -> Any:
    return producer.send("athena.commands", b"key", b"value", [])


def test_sends_without_an_answer_are_bounded_in_number_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is away would fill this gateway with calls that wait for it."""
    monkeypatch.setattr(outbox, "SEND_SECONDS", 0.2)
    monkeypatch.setattr(module, "MAX_UNDERWAY", 10)

    async def story() -> None:
        producer = Producer(Kafka("127.0.0.1:1"))
        driver = Driver(None)
        producer._outbox = Outbox(driver)  # type: ignore[arg-type]
        async with asyncio.timeout(5):
            found = await asyncio.gather(*(send(producer) for _ in range(50)), return_exceptions=True)
        assert {problem.status for problem in found if isinstance(problem, Problem)} == {503}
        assert (len(found), driver.sends, producer._underway) == (50, 10, 0)
        # One that times out may still arrive: no reason for a new producer.
        assert producer.ready

    asyncio.run(story())


@pytest.mark.parametrize(("error", "renewed"), [(OutOfOrderSequenceNumber(), True), (RequestTimedOutError(), False)])
def test_only_an_error_that_it_cannot_survive_makes_a_new_producer(
    monkeypatch: pytest.MonkeyPatch, error: Exception, renewed: bool
) -> None:
    """The gateway would refuse every command until somebody restarts it, or throw away what is underway."""
    made: list[Driver] = []

    async def connect(_: Producer) -> Any:
        if len(made) < 2:
            made.append(Driver(None))
            # No broker yet, and then one of another kind: neither may end the renewal.
            raise (OSError("no broker"), ValueError("odd"))[len(made) - 1]
        made.append(Driver(None))
        return made[-1]

    monkeypatch.setattr(Producer, "_connect", connect)
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.01)

    async def story() -> None:
        producer = Producer(Kafka("127.0.0.1:1"))
        first = producer._outbox = Outbox(Driver(error))  # type: ignore[arg-type]
        found = await asyncio.gather(*(send(producer) for _ in range(5)), return_exceptions=True)
        assert {getattr(one, "status", None) for one in found} == {503}
        await asyncio.sleep(0.3)
        assert (producer._outbox is first) is not renewed
        assert producer.ready
        assert len(made) == (3 if renewed else 0)

    asyncio.run(story())


async def _without_broker() -> None:
    """The driver's own sender ends without an error when it is cancelled."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(3600)


def test_a_producer_that_cannot_flush_is_let_go() -> None:
    """Each renewal would leave a task and a socket behind that try for ever."""

    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            producer = Kafka(f"127.0.0.1:{silent.getsockname()[1]}").producer(enable_idempotence=True)
            # What a producer has that lost its broker: a sender that finds nobody, and a batch.
            producer._sender._sender_task = asyncio.create_task(_without_broker())
            async with asyncio.timeout(20):
                await module._close(producer)
            assert producer._sender.sender_task.done()

    asyncio.run(story())


class Hanging(Driver):
    """Its end takes too long, and is then cancelled from within: aiokafka gathers futures that were cancelled before."""

    def __init__(self) -> None:
        super().__init__(OutOfOrderSequenceNumber())
        self._sender = self.client = self

    async def stop(self) -> None:
        await asyncio.sleep(60)

    async def close(self) -> None:
        lost = asyncio.get_running_loop().create_future()
        lost.cancel()
        await lost


def test_a_producer_whose_end_is_cancelled_from_within_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else this gateway would have none any more, and take no command, for ever."""
    monkeypatch.setattr(module, "_STOP_SECONDS", 0.1)
    made = Driver(None)

    async def connected(_: Producer) -> Driver:
        return made

    monkeypatch.setattr(Producer, "_connect", connected)

    async def story() -> None:
        producer = Producer(Kafka("127.0.0.1:1"))
        producer._outbox = Outbox(Hanging())  # type: ignore[arg-type]
        with pytest.raises(Problem):
            await send(producer)
        assert not producer.ready and producer._renewal is not None
        async with asyncio.timeout(10):
            await producer._renewal
        assert producer.ready and producer._outbox is not None and producer._outbox.producer is made  # type: ignore[comparison-overlap]
        await producer._outbox.close()

    asyncio.run(story())
