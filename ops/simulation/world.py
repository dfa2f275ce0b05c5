"""One run of a story: the whole product in memory, each action with its own numbers, so the same story is the same run."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import random
from collections import Counter
from collections.abc import Iterator

import structlog

from ops.simulation.actions import ACTIONS
from ops.simulation.administration import Administration
from ops.simulation.broker import Row
from ops.simulation.clients import Clients
from ops.simulation.database import MemoryDatabase
from ops.simulation.gateways import Gateway, Network
from ops.simulation.intents import Intents
from ops.simulation.loop import VirtualLoop
from ops.simulation.mirror import Mirror
from ops.simulation.organisation import fresh_broker
from ops.simulation.processes import Cluster
from ops.simulation.projectors import Projection
from ops.simulation.replay import Replay
from ops.simulation.settling import settle
from ops.simulation.story import Story
from ops.simulation.watch import Watch
from schemas import topics


class World:
    """`trace` tells what was done, for who looks into a failing seed; `done` and `faults` count it."""

    clients: Clients
    admin: Administration
    projection: Projection
    intents: Intents

    def __init__(self, story: Story) -> None:
        self.story = story
        self.rng = random.Random(story.setup)  # noqa: S311 - a seeded run is the point
        self.faults: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.trace: list[str] = []
        self.broker = fresh_broker()
        self.loop = VirtualLoop(self.broker.clock)
        self.watch = Watch(self.broker)
        self.replay = Replay(self.broker, self.watch.read_side)
        self.cluster = Cluster(self.broker, self.rng, self.rng.choice((2, 3)), self.faults)
        self.database = MemoryDatabase(self.loop, self.rng, self.faults)
        self.mirror = Mirror(self.broker, self.watch, self.database)
        self.projection = Projection(self.broker, self.loop, self.database, self.rng, self.faults)
        self.network = Network()
        self.gateways = [
            Gateway(name, self.broker, self.loop, self.database, self.network, self.rng, self.faults)
            for name in ("g0", "g1")
        ]
        self.intents = Intents(self.broker, self.watch, self.gateways, self.rng, self.done)
        self.clients = Clients(self.broker, self.watch, self.intents, self.rng)
        self.admin = Administration(
            self.broker, self.rng, self.clients.new_id, self.clients.away, self.clients.stand_ins, self.faults
        )
        self.broker.watchers.append(self._wake)

    def run(self) -> None:
        """Faults and work; then no more faults, and everything must finish. Raises `Broken`."""
        with _quiet():
            try:
                for number, action in enumerate(self.story.actions):
                    self.broker.clock.now += action.ms
                    self.rng.seed(action.draw)
                    self.trace.append(f"{number} {action.name}")
                    self.trace[-1] = f"{number} {action.name}: {ACTIONS[action.name](self)}"
                    self.loop.run()
                self.trace.append("faults stop")
                self.rng.seed(self.story.setup)
                settle(self)
            finally:
                self._end()

    def digest(self) -> str:
        """Identifies everything that was written, by whom and when."""
        found = hashlib.sha256()
        for place in sorted(self.broker.logs):
            for row in self.broker.logs[place]:
                found.update(repr((place, row.timestamp, row.key, row.value)).encode())
        found.update(repr(sorted(self.done.items())).encode())
        return found.hexdigest()

    def _wake(self, topic: str, partition: int, row: Row) -> None:
        if topic == topics.AUDIT:
            self.projection.wake()
        elif topic == topics.OUTCOMES:
            for gateway in self.gateways:
                gateway.wake()

    def _end(self) -> None:
        """Nothing of this world runs on, nor refers to it."""
        self.broker.watchers.clear()
        for task in self.cluster.tasks:
            task.drop()
        self.loop.close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What the real code has to say of faults is not news here."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
