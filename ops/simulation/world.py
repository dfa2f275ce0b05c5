"""One seeded run: what happens next is drawn from one generator, so the same seed is the same run."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable

from ops.simulation import final
from ops.simulation.administration import Administration
from ops.simulation.clients import Clients
from ops.simulation.failure import holds
from ops.simulation.organisation import LONGEST_WINDOW_MS, fresh_broker
from ops.simulation.poison import send_poison
from ops.simulation.processes import Cluster
from ops.simulation.shard_log import CHANGELOG_ACK, OUTPUT_ACK
from ops.simulation.shard_task import REPEAT_AFTER_MS
from ops.simulation.shards import SHARDS
from ops.simulation.stepping import IDLE
from ops.simulation.watch import Watch

#: Steps between two full comparisons of stream and table.
CHECK_EVERY = 60
#: Where a crash hurts most.
POINTS = ("changelog append", CHANGELOG_ACK, "output append", OUTPUT_ACK, "offset commit")
SETTLE_ROUNDS, SETTLE_STEPS = 8, 20_000


class World:
    """`trace` tells what was done, for who looks into a failing seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - a seeded run is the point
        self.faults: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.trace: list[str] = []
        self.broker = fresh_broker()
        self.watch = Watch(self.broker)
        self.cluster = Cluster(self.broker, self.rng, self.rng.choice((2, 3)), self.faults)
        self.clients = Clients(self.broker, self.watch, self.rng)
        self.admin = Administration(self.broker, self.rng, self.clients.new_id, self.clients.away)
        weighted: list[tuple[float, Callable[[], str]]] = [
            (30, self.clients.act),
            (55, self._work),
            (6, self._sweep),
            (3, self._pass_time),
            (5, self._follow),
            (3, self.admin.act),
            (1, self.admin.sign_in),
            (1.2, self._crash),
            (1.5, self._crash_at),
            (6, self._restart),
            (1.5, self._hand_over),
            (1.5, self._zombie),
            (1, self._skew),
            (1, self._poison),
            (1.5, self._remember_disk),
        ]
        self._actions = [action for _, action in weighted]
        self._weights = [weight for weight, _ in weighted]

    def run(self, steps: int) -> None:
        """Faults and work for `steps` steps; then no more faults, and everything must finish."""
        for number in range(steps):
            self.broker.clock.now += self.rng.randint(1, 250)
            (action,) = self.rng.choices(self._actions, self._weights)
            self.trace.append(f"{number} {action.__name__}: {action()}")
            if number % CHECK_EVERY == CHECK_EVERY - 1:
                final.check_replay(self.broker, self.watch.read_side, complete=False)
        self.settle()

    def settle(self) -> None:
        """No more faults: all work is done, all windows whose time has come are closed, every invariant is checked."""
        clock = self.broker.clock
        clock.skew = 0
        self.cluster.heal()
        self.cluster.run_until_idle(SETTLE_STEPS)
        latest = max((ledger.at for ledger in self.watch.read_side.requests.values()), default=clock.now)
        clock.now = max(clock.now, latest) + LONGEST_WINDOW_MS
        for _ in range(SETTLE_ROUNDS):
            clock.now += REPEAT_AFTER_MS + 1
            if self._sweep_all() == 0:
                break
            self.cluster.run_until_idle(SETTLE_STEPS)
        read_side = self.watch.read_side
        final.check_windows(read_side, clock.now)
        final.check_replay(self.broker, read_side, complete=True)
        final.check_stores(self.cluster)
        final.check_outcomes(self.broker, self.watch)
        final.check_notifications(read_side, self.watch)
        final.check_reference(self.cluster)
        holds(not any(map(self.cluster.lag, SHARDS)), "offsets lag behind")

    def digest(self) -> str:
        """Identifies everything that was written, by whom and when."""
        found = hashlib.sha256()
        for place in sorted(self.broker.logs):
            for row in self.broker.logs[place]:
                found.update(repr((place, row.timestamp, row.key, row.value)).encode())
        return found.hexdigest()

    def _work(self) -> str:
        tasks = self.cluster.tasks
        if not tasks:
            return "nobody"
        busy = [one for one in tasks if one.label != IDLE or self.cluster.lag(one.key)]
        task = self.rng.choice(busy if busy and self.rng.random() < 0.95 else tasks)
        most = self.rng.choice((1, 3, 6, 12, 30, 60))
        for _ in range(most):
            if not self.cluster.advance(task):
                break
        return f"{task.process.name} {task.key} {most} to {task.label}"

    def _sweep(self) -> str:
        return f"{self._sweep_all(self.rng.random() < 0.2)} due"

    def _sweep_all(self, half: bool = False) -> int:
        count = 0
        for task in self.cluster.tasks:
            if task.sweep is None:
                continue
            for output in task.sweep.due(self.broker.clock.now):
                count += 1
                # A sweep that dies half way, or whose send was lost.
                if half and self.rng.random() < 0.5:
                    continue
                self.broker.append(output.topic, output.partition or 0, output.key, output.value, output.headers)
        return count

    def _pass_time(self) -> str:
        amount = self.rng.choice((100, 500, 2_000, 5_000, 12_000, 25_000))
        self.broker.clock.now += amount
        return f"{amount} ms"

    def _follow(self) -> str:
        for process in self.cluster.alive:
            process.follow(self.rng.randint(0, 3))
        return "reference"

    def _crash(self) -> str:
        if not self.cluster.alive:
            return "nobody"
        process = self.rng.choice(self.cluster.alive)
        labels = [(task.key, task.label) for task in process.tasks.values()]
        self.cluster.crash(process)
        return f"{process.name} at {labels}"

    def _crash_at(self) -> str:
        """Crash at one chosen kind of point, so that the rare ones are not left to luck."""
        tasks = [one for one in self.cluster.tasks if one.label != IDLE or self.cluster.lag(one.key)]
        if not tasks:
            return "nobody"
        task, label = self.rng.choice(tasks), self.rng.choice(POINTS)
        for _ in range(40):
            if not self.cluster.advance(task) or (task.label == label and self.rng.random() < 0.5):
                break
        if task.process.alive:
            self.cluster.crash(task.process)
        return f"{task.process.name} {task.key} at {task.label}"

    def _restart(self) -> str:
        dead = [process for process in self.cluster.processes if not process.alive]
        if dead:
            self.rng.choice(dead).start()
        self.cluster.assign_orphans()
        return f"{len(dead)} were dead"

    def _hand_over(self) -> str:
        key = self.rng.choice(SHARDS)
        self.cluster.hand_over(key, told=True)
        return str(key)

    def _zombie(self) -> str:
        key = self.rng.choice(SHARDS)
        self.cluster.hand_over(key, told=False)
        return str(key)

    def _skew(self) -> str:
        self.faults["clock step"] += 1
        self.broker.clock.skew = self.rng.choice((-30_000, -3_000, 0, 0, 3_000, 30_000))
        return str(self.broker.clock.skew)

    def _poison(self) -> str:
        self.faults["poison"] += 1
        return send_poison(self.broker, self.watch, self.rng, self.clients.new_id)

    def _remember_disk(self) -> str:
        for process in self.cluster.processes:
            for store in process.stores():
                store.remember()
        return "disk flushed"
