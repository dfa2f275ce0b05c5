"""Those who wait for an outcome: found, counted, and no more of them than may be."""

from __future__ import annotations

import asyncio

import orjson

from gateway.streams import outcomes
from gateway.streams.commands import _outcome
from gateway.streams.outcomes import Outcome, Outcomes, Waiter


class Arrived:
    def __init__(self, command_id: str, value: bytes) -> None:
        self.headers = [("ce_subject", command_id.encode())]
        self.value = value


async def _soon(waiter: Waiter) -> Outcome | None:
    """What it has heard; None for nothing."""
    try:
        async with asyncio.timeout(0.01):
            return await waiter.next()
    except TimeoutError:
        return None


def test_all_who_wait_for_a_command_get_its_outcome() -> None:
    """Somebody who repeated a call would wait in vain."""

    async def story() -> None:
        found = Outcomes("127.0.0.1:1", 4)
        waiting = [found.expect("one"), found.expect("one"), found.expect("two")]
        found._resolve([Arrived("one", orjson.dumps({"command_id": "one", "status": "accepted"}))])
        heard = [await _soon(waiter) for waiter in waiting]
        assert [one is not None for one in heard] == [True, True, False]

    asyncio.run(story())


def test_those_who_wait_are_bounded_and_counted_right() -> None:
    """Thousands of waiting POSTs would take every place, or a wrong count would answer 202 to everybody for ever."""

    async def story() -> None:
        found = Outcomes("127.0.0.1:1", 4)
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
        found = Outcomes("127.0.0.1:1", 4)
        waiting = found.expect("one")
        for value in (b"", b"{", b"[]", orjson.dumps({"command_id": "two"})):
            found._resolve([Arrived("one", value)])
        assert await _soon(waiting) is None
        found._resolve([Arrived("one", orjson.dumps({"command_id": "one"}))])
        assert await _soon(waiting) == {"command_id": "one"}

    asyncio.run(story())


def test_a_retry_does_not_hear_that_another_use_of_its_key_was_refused() -> None:
    """Who repeats a POST that had no answer would be told that the key was used for something else."""

    async def story() -> None:
        found = Outcomes("127.0.0.1:1", 4)
        waiter = found.expect("one")
        reused = {"command_id": "one", "status": "refused", "code": "idempotency-key-reused", "offset": 7}
        own = {"command_id": "one", "status": "accepted", "code": None, "offset": 3}
        # Both with one poll: the second must not be lost while the first is looked at.
        found._resolve([Arrived("one", orjson.dumps(reused)), Arrived("one", orjson.dumps(own))])
        assert await _outcome(waiter, 9, 1.0) == own

    asyncio.run(story())


def test_who_used_a_key_for_something_else_is_told() -> None:
    """The refusal of one's own record would be waited past."""

    async def story() -> None:
        found = Outcomes("127.0.0.1:1", 4)
        waiter = found.expect("one")
        reused = {"command_id": "one", "status": "refused", "code": "idempotency-key-reused", "offset": 7}
        found._resolve([Arrived("one", orjson.dumps(reused))])
        assert await _outcome(waiter, 7, 1.0) == reused

    asyncio.run(story())
