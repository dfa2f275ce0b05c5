"""Worker processes and who owns what: starts, crashes, hand-overs, and owners that were not told."""

from __future__ import annotations

import random
from collections import Counter

from agents.ports import Fenced
from ops.simulation.broker import Broker
from ops.simulation.failure import Broken
from ops.simulation.shard_log import CHANGELOG_ACK, OUTPUT_ACK
from ops.simulation.shard_task import ShardTask
from ops.simulation.shards import SHARDS, ShardKey
from ops.simulation.stepping import IDLE
from ops.simulation.stores import MemoryStore
from schemas import topics
from schemas.catalog import Catalog

#: Suspensions within which a batch in hand ends when its partition is revoked.
LONGEST_BATCH = 5_000


class Process:
    """One worker: its disks outlive a crash, its catalog and tasks do not."""

    def __init__(self, name: str, broker: Broker) -> None:
        self.name = name
        self.alive = False
        self.catalog = Catalog()
        self.tasks: dict[ShardKey, ShardTask] = {}
        self._broker = broker
        self._disks: dict[tuple[ShardKey, str], MemoryStore] = {}

    def store(self, key: ShardKey, table: str) -> MemoryStore:
        return self._disks.setdefault((key, table), MemoryStore())

    def stores(self, key: ShardKey | None = None) -> list[MemoryStore]:
        return [store for (owner, _), store in self._disks.items() if key is None or owner == key]

    def start(self) -> None:
        """Read the reference data to its end, then be ready for shards."""
        self.catalog = Catalog()
        self.alive = True
        self.follow(1_000_000)

    def follow(self, count: int) -> None:
        """Apply up to `count` further records of `athena.reference`."""
        for row in self._broker.rows(topics.REFERENCE, 0)[self.catalog.offset : self.catalog.offset + count]:
            assert row.key is not None
            self.catalog.apply(row.key, row.value)
            self.catalog.offset = row.offset + 1


class Cluster:
    """`faults` counts what was done to it."""

    def __init__(self, broker: Broker, rng: random.Random, size: int, faults: Counter[str]) -> None:
        self.broker = broker
        self.faults = faults
        self._rng = rng
        self.processes = [Process(f"w{number}", broker) for number in range(size)]
        self.owner: dict[ShardKey, ShardTask | None] = dict.fromkeys(SHARDS)
        for process in self.processes:
            process.start()
        self.assign_orphans()

    @property
    def alive(self) -> list[Process]:
        return [process for process in self.processes if process.alive]

    @property
    def tasks(self) -> list[ShardTask]:
        return [task for process in self.processes for task in process.tasks.values()]

    def lag(self, key: ShardKey) -> int:
        """Records that are not committed yet."""
        return self.broker.end(*key) - self.broker.committed.get(key, 0)

    def assign_orphans(self) -> None:
        """Give every shard without an owner to a living process."""
        for key, owner in self.owner.items():
            if owner is None and self.alive:
                self._assign(key, self._rng.choice(self.alive))

    def _assign(self, key: ShardKey, process: Process) -> None:
        earlier = process.tasks.get(key)
        if earlier is not None:
            # Told at last that it had lost the shard; it may find out by being fenced, and end.
            self.stop(earlier)
            if not process.alive:
                return
        task = ShardTask(process, key, self.broker, self._rng, lambda one: self.owner[one.key] is one)
        self.owner[key] = process.tasks[key] = task

    def stop(self, task: ShardTask) -> None:
        """A clean revocation: the batch in hand is finished, the rest is dropped."""
        task.stopping = True
        if not task.opened:
            # Still claiming or recovering: that is broken off.
            task.drop()
        for _ in range(LONGEST_BATCH):
            if task.finished or not task.process.alive:
                break
            self.advance(task)
        else:
            raise Broken("a batch did not end when it was revoked", task.key, task.label)
        task.process.tasks.pop(task.key, None)
        if self.owner[task.key] is task:
            self.owner[task.key] = None

    def hand_over(self, key: ShardKey, *, told: bool) -> None:
        """Give a shard to another process (or anew to the same); untold, the earlier owner goes on as a zombie."""
        task = self.owner[key]
        if task is None or not self.alive:
            return
        if told or len(self.alive) < 2:
            self.stop(task)
            others = self.alive
        else:
            others = [process for process in self.alive if process is not task.process]
            self.faults["zombie"] += 1
        self.faults["rebalance"] += 1
        if others:
            self._assign(key, self._rng.choice(others))

    def advance(self, task: ShardTask) -> bool:
        """One suspension further; False once the task or its process is gone."""
        if task.finished:
            return False
        try:
            task.advance()
        except Fenced:
            self.faults["fenced"] += 1
            for store in task.process.stores(task.key):
                store.wipe()
            self._end(task.process)
        except Broken:
            raise
        except Exception as error:
            raise Broken(
                f"a worker failed with {type(error).__name__}", task.key, task.process.name, task.label, error
            ) from error
        return not task.finished

    def crash(self, process: Process) -> None:
        """Kill it where it stands; its disks stay, fall back to an older copy, or are gone."""
        self.faults["crash"] += 1
        for task in process.tasks.values():
            if task.label != IDLE:
                self.faults[f"crash at {task.label}"] += 1
        self.faults["acknowledgement lost"] += any(
            task.label in (CHANGELOG_ACK, OUTPUT_ACK) for task in process.tasks.values()
        )
        self._end(process)
        fate = self._rng.random()
        for store in process.stores():
            if fate < 0.25:
                store.wipe()
            elif fate < 0.5:
                store.fall_back()
        if fate < 0.5:
            self.faults["store deleted" if fate < 0.25 else "store stale"] += 1

    def _end(self, process: Process) -> None:
        process.alive = False
        for key, task in process.tasks.items():
            if self.owner[key] is task:
                self.owner[key] = None
            task.drop()
        process.tasks = {}

    def heal(self) -> None:
        """Faults stop: everybody is up, nobody is a zombie, every shard has an owner."""
        for task in self.tasks:
            if self.owner[task.key] is not task and task.process.alive:
                self.stop(task)
        for process in self.processes:
            if not process.alive:
                process.start()
        self.assign_orphans()

    def run_until_idle(self, limit: int) -> None:
        """Let every owner work until nothing is left to do."""
        for _ in range(limit):
            if None in self.owner.values():
                # An owner found out only now that a zombie had claimed its shard after it.
                self.heal()
            for process in self.processes:
                process.follow(1000)
            busy = [task for task in self.owner.values() if task and (task.label != IDLE or self.lag(task.key))]
            if not busy and None not in self.owner.values():
                return
            for task in busy:
                self.advance(task)
        raise Broken("work did not end after faults had stopped", [(task.key, task.label) for task in self.tasks])
