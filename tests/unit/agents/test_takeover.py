"""Taking shards over, in the narrow moments that a rebalance may choose."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, NoReturn

import pytest

from agents.takeover import Takeover


class Recorder:
    """A host and a restore that note what is asked of them; `held_at` is where they wait for `go_on`."""

    def __init__(self, held_at: str = "") -> None:
        self.done: list[Any] = []
        self.held_at = held_at
        self.arrived, self.go_on = asyncio.Event(), asyncio.Event()
        self.error: Exception | None = None
        self.stopped = False
        self.takeover = Takeover(self, lambda: self, self._die)

    async def _step(self, name: str, *facts: Any) -> None:
        if name == self.held_at:
            self.arrived.set()
            await self.go_on.wait()
            if self.error is not None:
                raise self.error
        self.done.append((name, *facts))

    async def claim(self, assigned: Iterable[Any]) -> None:
        await self._step("claim", *assigned)

    async def open(self) -> None:
        await self._step("open")

    async def run(self) -> bool:
        await self._step("restore")
        return not self.stopped

    def stop(self) -> None:
        self.stopped = True

    def _die(self, reason: str, code: int, error: BaseException | None = None) -> NoReturn:
        raise AssertionError(reason)


def test_claim_restore_open_in_this_order() -> None:
    """Tables would be read before earlier owners are shut out, and miss what these still write."""

    async def story() -> None:
        host = Recorder()
        host.takeover.assign(["a"])
        assert await host.takeover.run()
        assert host.done == [("claim", "a"), ("restore",), ("open",)]

    asyncio.run(story())


def test_nothing_is_claimed_that_was_revoked_before_the_takeover_began() -> None:
    """The late claim would shut out the next owner, which ends and reads its tables anew: nobody would decide meanwhile."""

    async def story() -> None:
        host = Recorder()
        host.takeover.assign(["a"])
        await host.takeover.interrupt()
        assert not await host.takeover.run()
        assert host.done == []
        host.takeover.assign(["b"])
        assert await host.takeover.run()
        assert host.done[0] == ("claim", "b")

    asyncio.run(story())


@pytest.mark.parametrize(("held_at", "fails"), [("claim", False), ("claim", True), ("restore", False), ("open", False)])
def test_a_revocation_waits_for_the_step_under_way_and_ends_the_rest(held_at: str, fails: bool) -> None:
    """Two owners would claim at once, or use the same tables."""

    async def story() -> None:
        host = Recorder(held_at)
        host.error = ConnectionError("away") if fails else None
        host.takeover.assign(["a"])
        running = asyncio.create_task(host.takeover.run())
        await host.arrived.wait()
        revocation = asyncio.create_task(host.takeover.interrupt())
        await asyncio.sleep(0.01)
        assert not revocation.done()
        host.go_on.set()
        await revocation
        assert not await running
        steps = ["claim", "restore", "open"]
        last = steps.index(held_at) + (0 if fails else 1)
        assert [one[0] for one in host.done] == steps[:last]

    asyncio.run(asyncio.wait_for(story(), 10))


@pytest.mark.parametrize("held_at", ["claim", "restore", "open"])
def test_a_step_that_fails_by_itself_is_told(held_at: str) -> None:
    """The worker would stay up, own the shards, and decide nothing."""

    async def story() -> None:
        host = Recorder(held_at)
        host.error = ConnectionError("away")
        host.go_on.set()
        host.takeover.assign(["a"])
        with pytest.raises(ConnectionError):
            await host.takeover.run()
        await host.takeover.interrupt()

    asyncio.run(story())
