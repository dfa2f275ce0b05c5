"""Queues by key: a few at a time, the rest in order, in bounded memory."""

from __future__ import annotations

import asyncio

import pytest

from gateway.turns import Lanes


async def _hold(lanes: Lanes, log: list[str], name: str, *keys: tuple[str, int]) -> None:
    async with lanes.lane(*keys):
        log.append(f"+{name}")
        await asyncio.sleep(0.01)
        log.append(f"-{name}")


def test_one_key_does_not_hold_up_another() -> None:
    """A flood of sign-ins on one account would keep everybody waiting."""

    async def test() -> None:
        lanes, log = Lanes(100, 5.0), list[str]()
        await asyncio.gather(*(_hold(lanes, log, name, (name[0], 1)) for name in ("a1", "a2", "b1")))
        assert log[:2] == ["+a1", "+b1"]
        assert log.index("+a2") > log.index("-a1")
        assert len(lanes) == 0

    asyncio.run(test())


def test_who_waits_too_long_is_sent_away_and_leaves_nothing() -> None:
    """Calls would hang, and each would leave a little memory behind."""

    async def test() -> None:
        lanes = Lanes(100, 0.05)
        async with lanes.lane(("a", 1)):
            with pytest.raises(TimeoutError):
                await _hold(lanes, [], "a2", ("b", 1), ("a", 1))
            await _hold(lanes, [], "b", ("b", 1))
        assert len(lanes) == 0

    asyncio.run(test())


def test_no_more_wait_than_may() -> None:
    """A flood would fill the memory with those who wait."""

    async def test() -> None:
        lanes = Lanes(2, 5.0)
        async with lanes.lane(("a", 1)):
            waiting = [asyncio.create_task(_hold(lanes, [], "x", ("a", 1))) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(TimeoutError):
                await _hold(lanes, [], "y", ("c", 1))
        await asyncio.gather(*waiting)

    asyncio.run(test())


def test_an_error_within_gives_the_place_back() -> None:
    """A wrong password would block its account for ever."""

    async def test() -> None:
        lanes = Lanes(2, 0.5)
        for _ in range(3):
            with pytest.raises(KeyError):
                async with lanes.lane(("a", 1)):
                    raise KeyError
        assert len(lanes) == 0

    asyncio.run(test())
