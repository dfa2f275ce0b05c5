"""Shards of one worker begin their batches together, and none waits long for another."""

from __future__ import annotations

import asyncio

from agents.turns import Turns


async def _batch(turns: Turns, name: str, lasts: asyncio.Event | None, diary: list[str]) -> None:
    async with turns.turn():
        diary.append(f"{name} begins")
        if lasts is not None:
            await lasts.wait()
    diary.append(f"{name} ends")


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_who_comes_during_a_batch_begins_with_the_others_after_it() -> None:
    """Otherwise each shard's batch is a request of its own."""

    async def run() -> list[str]:
        turns, first, diary = Turns(60), asyncio.Event(), list[str]()
        tasks = [asyncio.create_task(_batch(turns, "a", first, diary))]
        await _settle()
        tasks += [asyncio.create_task(_batch(turns, name, asyncio.Event(), diary)) for name in "bc"]
        await _settle()
        assert diary == ["a begins"]
        first.set()
        await _settle()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return diary

    assert asyncio.run(run()) == ["a begins", "a ends", "b begins", "c begins"]


def test_a_batch_that_takes_long_keeps_nobody_waiting() -> None:
    """Otherwise a shard that waits for reference data would hold up all others."""

    async def run() -> list[str]:
        turns, never, diary = Turns(0.01), asyncio.Event(), list[str]()
        slow = asyncio.create_task(_batch(turns, "slow", never, diary))
        await _settle()
        async with asyncio.timeout(10):
            for name in ("one", "two"):
                await _batch(turns, name, None, diary)
        never.set()
        await slow
        return diary

    assert asyncio.run(run()) == ["slow begins", "one begins", "one ends", "two begins", "two ends", "slow ends"]


def test_who_is_cancelled_while_it_waits_leaves_the_others_their_turn() -> None:
    async def run() -> list[str]:
        turns, first, diary = Turns(60), asyncio.Event(), list[str]()
        running = asyncio.create_task(_batch(turns, "a", first, diary))
        await _settle()
        waiting = [asyncio.create_task(_batch(turns, name, None, diary)) for name in "bc"]
        await _settle()
        waiting[0].cancel()
        await _settle()
        first.set()
        async with asyncio.timeout(10):
            await asyncio.gather(running, waiting[1])
        async with asyncio.timeout(10):
            await _batch(turns, "d", None, diary)
        return diary

    assert asyncio.run(run()) == ["a begins", "a ends", "c begins", "c ends", "d begins", "d ends"]


def test_those_who_wake_together_begin_together() -> None:
    """What one poll brought to four shards otherwise goes in two turns: the first one's, and that of the three others."""

    async def run() -> list[str]:
        turns, diary, waiting = Turns(60), list[str](), asyncio.Event()
        tasks = [asyncio.create_task(_batch(turns, name, waiting, diary)) for name in "abc"]
        await _settle()
        begun = list(diary)
        waiting.set()
        await asyncio.gather(*tasks)
        return begun

    assert asyncio.run(run()) == ["a begins", "b begins", "c begins"]
