"""Projector processes: the real projector on a simulated log and read side, one owner per partition, and zombies."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from agents.projector.ports import Unavailable
from agents.projector.projector import Projector
from agents.projector.reading import Reading, check_bounds
from agents.projector.record import Poison
from ops.simulation.broker import Broker, Row
from ops.simulation.database import MemoryDatabase
from ops.simulation.failure import Broken
from ops.simulation.loop import VirtualLoop
from ops.simulation.shards import PARTITIONS
from schemas import topics

_RETRY_SECONDS = 0.2
#: Seconds between two looks whether the offsets were set back.
_LOOK_SECONDS = 2.0


class ProjectorProcess:
    """One projector: fetches, hands whole polls to `Projector.apply`, and goes where the read side stands when told to."""

    def __init__(
        self, name: str, broker: Broker, loop: VirtualLoop, database: MemoryDatabase, rng: random.Random
    ) -> None:
        self.name = name
        self.assigned: set[int] = set()
        self.tasks: list[asyncio.Task[None]] = []
        self._broker = broker
        self._loop = loop
        self._database = database
        self._rng = rng
        self.reading = Reading()
        self.projector = self._projector()
        self._woken: asyncio.Future[None] | None = None

    @property
    def alive(self) -> bool:
        return bool(self.tasks)

    def _projector(self) -> Projector:
        return Projector(
            self._database,
            current_epoch=lambda: self.reading.epoch,
            resync=lambda: self.reading.resync(),  # noqa: PLW0108 - another `reading` after a restart
            stop=self._stop_for,
            jitter=lambda least, _: least,
        )

    def start(self) -> None:
        """A new process: nothing is remembered, nothing assigned."""
        self.reading = Reading()
        self.projector = self._projector()
        self.tasks = [self._loop.spawn(self._follow()), self._loop.spawn(self._watch())]

    def kill(self) -> None:
        tasks, self.tasks, self.assigned = self.tasks, [], set()
        self._loop.kill(tasks)

    def assign(self, partitions: set[int]) -> None:
        """The group's word, once it reaches this process."""
        self.assigned = set(partitions)
        self.reading.resync()
        self.wake()

    def wake(self) -> None:
        """There may be something to do."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def _follow(self) -> None:
        while True:
            reading, epoch = self.reading, self.reading.epoch
            if not reading.sought and self.assigned:
                await self._seek(epoch)
                continue
            found = self._fetch() if self.assigned else {}
            if not found:
                self._woken = self._loop.create_future()
                await self._woken
                continue
            if self._rng.random() < 0.7:
                # What was fetched is on its way; meanwhile the partitions may go to another.
                await asyncio.sleep(self._rng.random() * 0.3)
            poll = reading.take(epoch, found, {partition: rows[-1].offset + 1 for partition, rows in found.items()})
            if poll is not None:
                await self.projector.apply(poll)

    async def _seek(self, epoch: int) -> None:
        assigned = sorted(self.assigned)
        try:
            applied = await self.projector.positions(assigned)
        except Unavailable:
            await asyncio.sleep(_RETRY_SECONDS)
            return
        if epoch != self.reading.epoch:
            return
        for partition, offset in applied.items():
            try:
                check_bounds(partition, offset, 0, self._broker.end(topics.AUDIT, partition))
            except Poison as poison:
                await self._stop_for(poison)
        self.reading.begin(applied)

    def _fetch(self) -> dict[int, list[Row]]:
        found = {}
        for partition in sorted(self.assigned):
            start = self.reading.next[partition]
            rows = self._broker.rows(topics.AUDIT, partition)[start : start + self._rng.choice((1, 3, 10, 500))]
            if rows:
                found[partition] = rows
        return found

    async def _watch(self) -> None:
        """As the app's clock: offsets that were set back are noticed although nothing new arrives."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self.projector.look_for_rebuild()
            except Unavailable:
                continue
            self.wake()

    async def _stop_for(self, poison: Poison) -> None:
        raise Broken("the projector stopped at a good record", poison.why, poison.partition, poison.offset)


class Projection:
    """Two projectors and who has which partition. `faults` counts what was done to them."""

    def __init__(
        self, broker: Broker, loop: VirtualLoop, database: MemoryDatabase, rng: random.Random, faults: Counter[str]
    ) -> None:
        self._broker = broker
        self._rng = rng
        self._faults = faults
        self.processes = [ProjectorProcess(f"p{number}", broker, loop, database, rng) for number in range(2)]
        self.start_one()

    @property
    def alive(self) -> list[ProjectorProcess]:
        return [one for one in self.processes if one.alive]

    def start_one(self) -> str:
        """Start one that is down, if any, and give orphaned partitions to the living."""
        down = [one for one in self.processes if not one.alive]
        if down:
            self._rng.choice(down).start()
        self._assign_orphans()
        return f"{len(down)} were down"

    def kill_one(self) -> str:
        """`kill -9`, wherever it stands."""
        if not self.alive:
            return "nobody"
        process = self._rng.choice(self.alive)
        self._faults["projector down"] += 1
        process.kill()
        return process.name

    def move(self, *, told: bool) -> str:
        """Deal the partitions anew; untold, an earlier owner goes on with what it has."""
        alive = self.alive
        if not alive:
            return "nobody"
        if len(alive) < 2:
            self.start_one()
            alive = self.alive
        dealt: dict[str, set[int]] = {one.name: set() for one in alive}
        for partition in range(PARTITIONS):
            dealt[self._rng.choice(alive).name].add(partition)
        self._faults["projector rebalance" if told else "projector zombie"] += 1
        for one in alive:
            lost = one.assigned - dealt[one.name]
            if told or not lost:
                one.assign(dealt[one.name])
        return str(dealt)

    def heal(self) -> None:
        """Faults stop: both are up, each partition has one owner."""
        for process in self.processes:
            if not process.alive:
                process.start()
        for number, process in enumerate(self.processes):
            process.assign({partition for partition in range(PARTITIONS) if partition % 2 == number})

    def wake(self) -> None:
        """The log has grown."""
        for process in self.processes:
            process.wake()

    def _assign_orphans(self) -> None:
        held = set().union(*(one.assigned for one in self.alive))
        for partition in set(range(PARTITIONS)) - held:
            owner = self._rng.choice(self.alive)
            owner.assign(owner.assigned | {partition})
