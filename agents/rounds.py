"""What runs again and again beside the shards: closing windows, replacing who left, watching progress, comparing clocks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import structlog

from agents import metrics
from agents.clock import ClockGuard
from agents.exits import EXIT_FAILED, EXIT_STALLED
from agents.host_ports import Key, Unreachable, World
from agents.lag import Lag
from agents.restaffing import Restaffing
from agents.runner import ShardRunner
from agents.sweep import WindowSweep
from agents.watchdog import Watchdog
from schemas import topics

log = structlog.get_logger(__name__)

SWEEP_EVERY_S = 0.5
#: Part of the loop's time that looking for requests of which somebody left may take.
RESTAFFING_SHARE = 0.2
#: After so long a look at one partition, the loop goes round before the next one.
LONG_S = 0.001
WATCH_EVERY_S = 2.0
#: Not ready while more records than this wait to be decided.
LAG_LIMIT = 5000
#: The broker may be away for so long; then the process ends, and whoever starts it again tells the operator.
AWAY_LIMIT_S = 60.0
LONGEST_PAUSE_S = 5.0


class Hosted(Protocol):
    """The host, as the rounds see it."""

    clock: ClockGuard
    lag: Lag
    opened: asyncio.Event

    @property
    def runners(self) -> Mapping[Key, ShardRunner]: ...

    @property
    def sweeps(self) -> Mapping[int, WindowSweep]: ...

    @property
    def restaffings(self) -> Mapping[int, Restaffing]: ...


class Rounds:
    """Five tasks; what goes wrong in them ends the process, but for a broker that is away for a while."""

    def __init__(self, world: World, host: Hosted) -> None:
        self._world = world
        self._host = host
        self._watchdog: Watchdog[Key] = Watchdog()
        self._tasks: list[asyncio.Task[None]] = []
        self._turn = 0

    def start(self) -> None:
        for work in (self._sweep, self._restaff, self._watch, self._compare_clocks):
            self._tasks.append(asyncio.create_task(self._for_ever(work), name=work.__name__.lstrip("_")))
        if self._world.watch is not None:
            self._tasks.append(asyncio.create_task(self._for_ever(self._check_rules), name="check_rules"))

    async def stop(self) -> None:
        """Safe to call twice."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something once; what goes wrong ends the process."""
        try:
            await work()
        except Exception as error:
            self._world.die("a task of the worker failed", EXIT_FAILED, error)

    async def _for_ever(self, work: Callable[[], Awaitable[None]]) -> None:
        now = asyncio.get_running_loop().time
        failures, answered_at = 0, now()
        while True:
            try:
                await work()
                failures, answered_at = 0, now()
                metrics.CLUSTER_REACHABLE.set(1)
            except Unreachable as error:
                failures += 1
                metrics.CLUSTER_REACHABLE.set(0)
                log.warning("the broker does not answer; trying again", error=str(error), failures=failures)
                if now() - answered_at > AWAY_LIMIT_S:
                    self._world.die(f"the broker has not answered for {AWAY_LIMIT_S:.0f} s", EXIT_FAILED, error)
                pause = min(LONGEST_PAUSE_S, 0.2 * 2**failures)
                await asyncio.sleep(pause * self._world.rng.uniform(0.5, 1.0))
            except Exception as error:
                self._world.die("a round of the worker failed", EXIT_FAILED, error)

    async def _sweep(self) -> None:
        await asyncio.sleep(SWEEP_EVERY_S)
        await self._host.opened.wait()
        for partition, sweep in list(self._host.sweeps.items()):
            if self._host.sweeps.get(partition) is not sweep:
                return  # given up while another one's commands were sent: its tables are closed
            # While the clocks are apart ours may be the wrong one, and find windows due whose time has not come.
            if not self._host.clock.sane:
                return
            due = sweep.due(self._world.now_ms())
            if due:
                await self._world.cluster.send(due)
                metrics.WINDOWS_DUE.inc(len(due))

    async def _restaff(self) -> None:
        await self._host.opened.wait()
        worked, busy = 0.0, False
        for partition in self._in_turn(list(self._host.restaffings)):
            restaffing = self._host.restaffings.get(partition)
            runner = self._host.runners.get((topics.COMMANDS, partition))
            if restaffing is None or runner is None or not self._host.clock.sane:
                break
            waiting = runner.waiting > 0
            started = self._now()
            found = restaffing.work(self._world.now_ms(), waiting=waiting)
            took = self._now() - started
            worked += took
            if found:
                await self._world.cluster.send(found)
                metrics.REASSIGNED.inc(len(found))
            busy = busy or (restaffing.busy and not waiting)
            if took >= LONG_S:
                await asyncio.sleep(0)  # what arrived meanwhile does not wait for the slices of all partitions
        pause = worked * (1 - RESTAFFING_SHARE) / RESTAFFING_SHARE
        await asyncio.sleep(pause if busy else SWEEP_EVERY_S)

    async def _check_rules(self) -> None:
        assert self._world.watch is not None
        await self._world.watch.look(ours=(topics.REFERENCE_COMMANDS, 0) in self._host.runners)

    def _in_turn(self, partitions: list[int]) -> list[int]:
        """Another one first each time: whoever comes first uses up the pace."""
        self._turn += 1
        first = self._turn % max(len(partitions), 1)
        return partitions[first:] + partitions[:first]

    async def _compare_clocks(self) -> None:
        await self._host.clock.wait(await self._host.clock.look(self._world.cluster.append_time))

    async def _watch(self) -> None:
        await asyncio.sleep(WATCH_EVERY_S)
        reference, host = self._world.reference, self._host
        if reference.failed is not None:
            self._world.die("reference data can no longer be followed", EXIT_FAILED, reference.failed)
        metrics.REFERENCE_OFFSET.set(reference.catalog.offset)
        if not host.opened.is_set():
            self._end_if(self._watchdog.opening(self._now(), self._world.progress()))
            return
        shards = dict(host.runners)
        places = await host.lag.places(shards)
        if not host.opened.is_set():
            return
        ready = host.clock.sane and sum(place.lag for place in places.values()) < LAG_LIMIT
        metrics.READY.set(1 if ready else 0)
        if not host.clock.sane:
            self._watchdog.excused(self._now())
            return
        free = {key: place for key, place in places.items() if not shards[key].held}
        self._end_if(self._watchdog.working(self._now(), free))

    def _end_if(self, reason: str | None) -> None:
        if reason is not None:
            self._world.die(reason, EXIT_STALLED)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
