"""Those who wait for an outcome: found, counted, and no more of them than may be."""

from __future__ import annotations

import asyncio

import orjson

from gateway.streams import outcomes
from gateway.streams.outcomes import Outcomes


class Arrived:
    def __init__(self, command_id: str, value: bytes) -> None:
        self.headers = [("ce_subject", command_id.encode())]
        self.value = value


def test_all_who_wait_for_a_command_get_its_outcome() -> None:
    """Somebody who repeated a call would wait in vain."""

    async def story() -> None:
        found = Outcomes("127.0.0.1:1", 4)
        waiting = [found.expect("one"), found.expect("one"), found.expect("two")]
        found._resolve([Arrived("one", orjson.dumps({"command_id": "one", "status": "accepted"}))])
        assert [future.done() for future in waiting] == [True, True, False]

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
        assert not waiting.done()
        found._resolve([Arrived("one", orjson.dumps({"command_id": "one"}))])
        assert waiting.done()

    asyncio.run(story())
