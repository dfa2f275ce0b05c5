"""One worker: a disk that outlives its processes, and a supervisor that starts the next one."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING, NoReturn

from agents.exits import EXIT_FAILED, EXIT_FENCED
from agents.host_ports import Key, World
from agents.topology import TABLES
from ops.simulation.host_faust import SimulatedFaust
from ops.simulation.host_loop import LIFE, Life
from ops.simulation.host_world import Disk, SimulatedCluster, SimulatedReference, SimulatedShardLog
from ops.simulation.organisation import rules_in_force
from ops.simulation.shards import PARTITIONS, SHARDS

if TYPE_CHECKING:
    from ops.simulation.host_run import HostRun

#: From SIGTERM to the end of the process; then the supervisor kills.
STOP_S = 10.0


class Ended(BaseException):
    """The process is gone. Nothing may catch it, as nothing could."""


class Worker:
    """`skew` (ms) is how far its clock is from the true one."""

    def __init__(self, name: str, run: HostRun) -> None:
        self.name = name
        self.skew = 0
        self.life: Life | None = None
        self.faust: SimulatedFaust | None = None
        self.logs: list[SimulatedShardLog] = []
        #: Since when (ms) the clocks stand to each other, for this worker, as they do.
        self.clocks_since = 0
        self._run = run
        self._lives = 0
        self._disks: dict[tuple[Key, str], Disk] = {}

    def disk(self, key: Key, table: str) -> Disk:
        return self._disks.setdefault((key, table), Disk())

    def remember_disks(self) -> None:
        for disk in self._disks.values():
            disk.remember()

    def start(self) -> None:
        """Start the next process."""
        self._lives += 1
        run = self._run
        self.life = life = Life(self.name)

        def die(reason: str, code: int, error: BaseException | None = None) -> NoReturn:
            if life.alive:
                self._died(life, reason, code, error)
            raise Ended(reason)

        self.faust = faust = SimulatedFaust(
            life,
            run.broker,
            run.group,
            run.network,
            self.disk,
            run.rng,
            lambda one: run.checks.opened(self, one),
            lambda reason, error: self._died(life, reason, EXIT_FAILED, error),
        )
        self.clocks_since = run.broker.clock.now
        cluster = SimulatedCluster(run.broker, run.network, run.rng, lambda what: run.checks.works(self, what))
        self.logs = cluster.logs
        reference = SimulatedReference(run.broker, run.network, run.rng)
        context = copy_context()
        context.run(LIFE.set, life)

        def make() -> None:
            faust.run_with(
                World(
                    partitions=PARTITIONS,
                    cluster=cluster,
                    reference=reference,
                    rules=lambda: rules_in_force(reference.catalog),
                    store=lambda table, partition: self.disk(_key_of(table, partition), table),
                    generation=lambda: faust.generation,
                    die=die,
                    now_ms=lambda: run.broker.clock.now + self.skew,
                    progress=lambda: sum(disk.offset for disk in self._disks.values()),
                    rng=run.rng,
                )
            )

        context.run(make)
        asyncio.get_running_loop().create_task(self._live(life, faust), context=context)

    async def _live(self, life: Life, faust: SimulatedFaust) -> None:
        """What Faust does with a crash of its own: the process ends."""
        try:
            await faust.start()
        except Exception as error:
            self._died(life, "Faust crashed", 1, error)
            return
        done, _ = await asyncio.wait(faust.tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            crash = None if task.cancelled() else task.exception()
            if isinstance(crash, Exception):
                self._died(life, "Faust crashed", 1, crash)

    def kill(self) -> str:
        """`kill -9`; its disk stays, is an older copy, or is gone."""
        if self.life is None or not self.life.alive:
            return f"{self.name} is down"
        self._run.faults["kill"] += 1
        self._gone(self.life)
        fate = self._run.rng.random()
        for disk in self._disks.values():
            if fate < 0.2:
                disk.wipe()
            elif fate < 0.5:
                disk.fall_back()
        return f"{self.name}, disk {'gone' if fate < 0.2 else 'older' if fate < 0.5 else 'kept'}"

    def terminate(self) -> str:
        """SIGTERM: it may finish what it has in hand."""
        life, faust = self.life, self.faust
        if life is None or faust is None or not life.alive or life.frozen or not hasattr(faust, "host"):
            return f"{self.name} is down"
        self._run.faults["stop"] += 1
        context = copy_context()
        context.run(LIFE.set, life)
        loop = asyncio.get_running_loop()

        async def stop() -> None:
            began = loop.time()
            await faust.stop()
            self._run.checks.stopped(self, loop.time() - began)
            self._gone(life)

        loop.create_task(stop(), context=context)  # noqa: RUF006 - the loop keeps all tasks
        loop.call_later(STOP_S, lambda: self._gone(life))
        return self.name

    def step_clock(self, skew: int) -> None:
        """Set its clock so far (ms) from the true one."""
        self.skew = skew
        self.clocks_since = self._run.broker.clock.now

    def freeze(self) -> str:
        if self.life is None or not self.life.alive:
            return f"{self.name} is down"
        self._run.faults["freeze"] += 1
        self.life.frozen = True
        return self.name

    def thaw(self) -> str:
        if self.life is not None and self.life.frozen:
            self._run.loop.thaw(self.life)
            self.clocks_since = self._run.broker.clock.now
        return self.name

    def _died(self, life: Life, reason: str, code: int, error: BaseException | None) -> None:
        self._run.say(f"{life.name} ends, code {code}: {reason}: {error!r}")
        self._run.faults[f"ended itself with {code}"] += 1
        if code == EXIT_FENCED:
            topic, number = reason.split(" ", 1)[0].rsplit("/", 1)
            for (key, table), disk in self._disks.items():
                if key == (topic, int(number)):
                    self._run.checks.holds(
                        disk.offset == -1, "a fenced owner left its store behind", life.name, key, table
                    )
        self._gone(life)

    def _gone(self, life: Life) -> None:
        if not life.alive:
            return
        life.alive = False
        self._run.loop.call_later(
            self._run.rng.choice((0.5, 2.0, 8.0)), self._again, life, context=self._run.network.outside
        )

    def _again(self, life: Life) -> None:
        if self.life is life:
            self.start()


def _key_of(table: str, partition: int) -> Key:
    topic = next(topic for topic, tables in TABLES.items() if table in tables)
    assert (topic, partition) in SHARDS
    return topic, partition
