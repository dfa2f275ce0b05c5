"""Those who wait for an outcome: found, counted, and no more of them than may be."""

from __future__ import annotations

import asyncio

import orjson
from aiokafka import TopicPartition

from gateway.streams import outcomes
from gateway.streams.exchange import outcome_of
from gateway.streams.outcomes import Outcome, Outcomes, Waiter
from ops.kafka_clients import Kafka
from schemas import topics
from schemas.outcomes import answering


class Arrived:
    def __init__(self, command_id: str, value: bytes) -> None:
        self.headers = [("ce_subject", command_id.encode())]
        self.value = value
        self.offset = 0


async def _soon(waiter: Waiter) -> Outcome | None:
    """What it has heard; None for nothing."""
    try:
        async with asyncio.timeout(0.01):
            heard = await waiter.next()
        return None if heard is None else heard.outcome
    except TimeoutError:
        return None


def test_all_who_wait_for_a_command_get_its_outcome() -> None:
    """Somebody who repeated a call would wait in vain."""

    async def story() -> None:
        found = Outcomes(Kafka("127.0.0.1:1"), 4)
        waiting = [found.expect("one"), found.expect("one"), found.expect("two")]
        found._resolve([Arrived("one", orjson.dumps({"command_id": "one", "status": "accepted"}))])
        heard = [await _soon(waiter) for waiter in waiting]
        assert [one is not None for one in heard] == [True, True, False]

    asyncio.run(story())


def test_those_who_wait_are_bounded_and_counted_right() -> None:
    """Thousands of waiting POSTs would take every place, or a wrong count would answer 202 to everybody for ever."""

    async def story() -> None:
        found = Outcomes(Kafka("127.0.0.1:1"), 4)
        waiting = [(str(number % 100), found.expect(str(number % 100))) for number in range(outcomes.MAX_WAITING)]
        assert found.full
        for command_id, future in waiting:
            found.forget(command_id, future)
            found.forget(command_id, future)
        assert not found.full
        assert (found._expected, found._waiting) == (0, {})

    asyncio.run(story())


def test_an_outcome_that_cannot_be_read_does_not_end_the_following() -> None:
    """One bad record would leave every later POST waiting."""

    async def story() -> None:
        found = Outcomes(Kafka("127.0.0.1:1"), 4)
        waiting = found.expect("one")
        for value in (b"", b"{", b"[]", orjson.dumps({"command_id": "two"})):
            found._resolve([Arrived("one", value)])
        assert await _soon(waiting) is None
        found._resolve([Arrived("one", orjson.dumps({"command_id": "one"}))])
        assert await _soon(waiting) == {"command_id": "one"}

    asyncio.run(story())


def _arrived(answers: int, **body: object) -> Arrived:
    found = Arrived("one", orjson.dumps({"command_id": "one"} | body))
    found.headers.append(answering(answers))
    return found


def _answered(offset: int, arrived: list[Arrived]) -> Outcome | None:
    """What a POST is answered whose own record is at that offset."""

    async def story() -> Outcome | None:
        found = Outcomes(Kafka("127.0.0.1:1"), 4)
        waiter = found.expect("one")
        # All with one poll: the second must not be lost while the first is looked at.
        found._resolve(arrived)
        return await outcome_of(waiter, offset, 0.05)

    return asyncio.run(story())


def test_a_retry_does_not_hear_that_another_use_of_its_key_was_refused() -> None:
    """Who repeats a POST that had no answer would be told that the key was used for something else."""
    reused = _arrived(7, status="refused", code="idempotency-key-reused", offset=7)
    again = _arrived(9, status="accepted", code=None, offset=3)
    found = _answered(9, [reused, again])
    assert found is not None and (found["code"], found["offset"]) == (None, 3)


def test_who_used_a_key_for_something_else_is_told() -> None:
    """Somebody whose other payload waits beside the first would be told that it was done."""
    first = _arrived(3, status="accepted", code=None, offset=3)
    reused = _arrived(7, status="refused", code="idempotency-key-reused", offset=7)
    found = _answered(7, [first, reused])
    assert found is not None and found["code"] == "idempotency-key-reused"
    assert _answered(7, [first]) is None, "until its own record is decided it has no answer"


def test_an_outcome_of_the_first_release_answers_all_who_wait() -> None:
    """While gateways are replaced before the workers, every POST would run into its time-out."""
    found = _answered(7, [Arrived("one", orjson.dumps({"command_id": "one", "offset": 3}))])
    assert found is not None and found["offset"] == 3


class Consumer:
    """An outcome is written `every` so many seconds; each poll brings all there are, once there is one. Notes what is asked."""

    def __init__(self, every: float) -> None:
        self.every = every
        self.read = asyncio.get_running_loop().time()
        self.asked: list[str] = []

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def assign(self, _: object) -> None: ...

    def seek(self, *_: object) -> None: ...

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def getmany(self, timeout_ms: int) -> dict[TopicPartition, list[Arrived]]:
        self.asked.append("poll")
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self.read + self.every - loop.time())
        written = int((loop.time() - self.read) / self.every)
        self.read += written * self.every
        return {TopicPartition(topics.OUTCOMES, 0): [Arrived("one", b"")] * written}

    def pause(self, *_: TopicPartition) -> None:
        self.asked.append("pause")

    def resume(self, *_: TopicPartition) -> None:
        self.asked.append("resume")


def _asked(every: float) -> list[str]:
    async def story() -> list[str]:
        consumer = Consumer(every)
        found = Outcomes(Kafka("127.0.0.1:1"), 4, lambda **_: consumer)
        await found.start()
        await asyncio.sleep(0.5)
        await found.stop()
        return consumer.asked

    return asyncio.run(story())


def test_outcomes_that_come_one_by_one_in_a_rush_are_fetched_together() -> None:
    """A fetch for each would cost gateway and broker more than the outcome."""
    asked = _asked(0.001)
    assert asked.count("poll") < 100, "at most one fetch in 10 ms, and not as many as there are outcomes"
    paused = asked[asked.index("pause") :]
    assert paused[:6] == ["pause", "resume", "poll"] * 2, "while it waits nothing is fetched"


def test_outcomes_that_come_now_and_then_are_fetched_at_once() -> None:
    """Every single command would be answered later than it could be."""
    assert set(_asked(0.02)) == {"poll"}
