"""Costly calls wait for one another, and not without end."""

from __future__ import annotations

import asyncio

import pytest

from gateway.http.problems import Problem
from gateway.turns import Shares, Turns


async def _hold(turns: Turns, until: asyncio.Event, log: list[str]) -> None:
    async with turns.turn():
        log.append("in")
        await until.wait()


def test_so_many_at_a_time_a_few_wait_and_the_rest_is_sent_away() -> None:
    """One auditor who asks again and again would keep the gateway busy for hours after he left."""

    async def run() -> None:
        turns, until, log = Turns(1, waiting=2, seconds=5), asyncio.Event(), list[str]()
        held = [asyncio.create_task(_hold(turns, until, log)) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert log == ["in"]
        with pytest.raises(Problem) as refused:
            async with turns.turn():
                pass
        assert refused.value.status == 503
        until.set()
        await asyncio.gather(*held)
        assert log == ["in"] * 3
        async with turns.turn():
            pass

    asyncio.run(run())


def test_nobody_waits_longer_than_told() -> None:
    """A caller would hang until his client gives up, and never learn why."""

    async def run() -> None:
        turns, until, log = Turns(1, waiting=2, seconds=0.01), asyncio.Event(), list[str]()
        first = asyncio.create_task(_hold(turns, until, log))
        await asyncio.sleep(0)
        with pytest.raises(Problem, match="not done yet"):
            async with turns.turn():
                pass
        until.set()
        await first

    asyncio.run(run())


def test_one_key_takes_no_more_than_its_shares() -> None:
    """One account, asked for again and again, would stand in everybody's way."""
    shares = Shares(2)
    with shares.share("sam") as first, shares.share("sam") as second, shares.share("sam") as third:
        assert [first, second, third] == [True, True, False]
        with shares.share("sue") as other:
            assert other
    with shares.share("sam") as again:
        assert again
