"""One seeded run of two or three real hosts: kills, freezes, stops, rebalances, wrong clocks and an absent broker; then peace."""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, NoReturn, cast

import orjson
import structlog

from agents.clock import MAX_HOLD_MS
from agents.ports import Incoming
from agents.requests import parse, payload_hash
from ops.simulation import final
from ops.simulation.administration import Administration
from ops.simulation.broker import START_MS, Clock, Row
from ops.simulation.clients import Clients
from ops.simulation.failure import Broken, holds
from ops.simulation.host_checks import Checks
from ops.simulation.host_group import Group
from ops.simulation.host_loop import SeededLoop
from ops.simulation.host_network import Network
from ops.simulation.host_worker import Worker
from ops.simulation.organisation import fresh_broker
from ops.simulation.poison import send_poison
from ops.simulation.processes import Cluster
from ops.simulation.replay import Replay
from ops.simulation.shards import SHARDS
from ops.simulation.staffed import Staffed
from ops.simulation.watch import Watch
from schemas import topics

#: Seconds of simulated time with faults, and at most until everything is done after them.
TROUBLE_S, PEACE_S = 40.0, 600.0
HOUR_MS = 3_600_000


class HostSeedFailed(AssertionError):
    """A seed broke a promise; the text says which, and how to see it again."""

    def __init__(self, seed: int, broken: Broken, trace: list[str]) -> None:
        last = "\n  ".join(trace[-40:])
        super().__init__(f"host seed {seed}: {broken}\nrepeat: python -m ops.simulation.host_run {seed}\n  {last}")


class VirtualClock(Clock):
    """The broker's clock: true time is the loop's."""

    def __init__(self, loop: SeededLoop) -> None:
        self._loop = loop
        super().__init__()

    @property
    def now(self) -> int:
        return START_MS + round(self._loop.time() * 1000)

    @now.setter
    def now(self, value: int) -> None:
        """Nobody pushes the loop's time on."""


class HostRun:
    """`trace` tells what was done, for who looks into a failing seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - a seeded run is the point
        self.loop = SeededLoop(self.rng)
        self.trace: list[str] = []
        self.faults: Counter[str] = Counter()
        self.broker = fresh_broker()
        self.broker.clock = VirtualClock(self.loop)
        self.watch = Watch(self.broker)
        self.replay = Replay(self.broker, self.watch.read_side)
        self.broker.watchers.append(self._mark_misdated)
        self.network = Network(self.rng)
        self.checks = Checks(self.broker, self.watch)
        self.group = Group(self.broker, self.rng, self.checks.commit)
        size = self.rng.choice((2, 2, 3))
        self.workers = [Worker(f"w{number}", self) for number in range(size)]
        self.clients = Clients(self.broker, self.watch, None, self.rng)
        self.admin = Administration(
            self.broker, self.rng, self.clients.new_id, self.clients.away, self.clients.stand_ins, self.faults
        )
        weighted: list[tuple[float, Callable[[], str]]] = [
            (50, self.clients.act),
            (6, self._rush),
            (4, self._administer),
            (2, self.admin.sign_in),
            (1, self._poison),
            (2, self._kill),
            (1.5, self._terminate),
            (2, self._freeze),
            (2, self._thaw),
            (1.5, self._rebalance),
            (0.7, self._step_clock),
            (0.7, self._step_broker_clock),
            (0.3, self._broker_away),
            (1, self._remember_disks),
        ]
        self._actions = [action for _, action in weighted]
        self._weights = [weight for weight, _ in weighted]

    def run(self) -> None:
        """Raises `Broken`."""
        with _silence():
            try:
                self.loop.run_until_complete(self._story())
            finally:
                self.loop.bury()
                self.loop.close()

    async def _story(self) -> None:
        ticking = asyncio.create_task(self._tick())
        for worker in self.workers:
            worker.start()
        while self.loop.time() < TROUBLE_S:
            await self._pass(self.rng.expovariate(4))
            (action,) = self.rng.choices(self._actions, self._weights)
            self.say(f"{action.__name__.lstrip('_')}: {action()}")
        await self._settle()
        ticking.cancel()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            self.group.tick()

    async def _pass(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.checks.nothing_broken()

    async def _settle(self) -> None:
        """No more faults: all is decided, all windows whose time has come are closed, every invariant is checked."""
        self.say("peace")
        self.broker.clock.skew = 0
        for worker in self.workers:
            worker.step_clock(0)
            worker.thaw()
        until = self.loop.time() + PEACE_S
        while open_ := self._open():
            holds(self.loop.time() < until, "work did not end after faults had stopped", open_)
            await self._pass(2.0)
        # Whoever had lost a shard without knowing has found out by now.
        await self._pass(30.0)
        holds(not self._open(), "work came up again after it had ended", self._open())
        read_side = self.watch.read_side
        final.check_windows(read_side, self.broker.clock.now)
        self.replay.check_complete()
        final.check_outcomes(self.broker, self.watch)
        final.check_notifications(self.replay, self.watch)
        final.check_reference(cast(Cluster, self))
        self.checks.stores(self.group, self.workers)

    def _open(self) -> list[object]:
        """What is still to be done."""
        found: list[object] = [key for key in SHARDS if self.broker.end(*key) > self.broker.committed.get(key, 0)]
        now = self.broker.clock.now
        for ledger in self.watch.read_side.requests.values():
            if ledger.status in ("approved", "rejected"):
                found.append((ledger.id, ledger.status, now))
        return found or list(Staffed(self.broker).wrong(self.watch.read_side))

    def say(self, text: str) -> None:
        self.trace.append(f"{self.loop.time():8.3f} {text}")

    def digest(self) -> str:
        """Identifies everything that was written, by whom and when."""
        found = hashlib.sha256()
        for place in sorted(self.broker.logs):
            for row in self.broker.logs[place]:
                found.update(repr((place, row.timestamp, row.key, row.value)).encode())
        return found.hexdigest()

    def _mark_misdated(self, topic: str, partition: int, row: Row) -> None:
        """What is stamped so far ahead may not be decided, but a repeat of what was decided before is answered."""
        if (topic, partition) not in SHARDS or row.timestamp <= self.broker.clock.now + 2 * MAX_HOLD_MS:
            return
        asked = _asked(topic, partition, row)
        earlier = self.broker.rows(topic, partition)[: row.offset] if asked is not None else []
        good = (one for one in earlier if (topic, partition, one.offset) not in self.watch.poison)
        if all(_asked(topic, partition, one) != asked for one in good):
            self.watch.poison.add((topic, partition, row.offset))

    def _rush(self) -> str:
        """More at once than a batch: something is queued when partitions are revoked."""
        return ", ".join(self.clients.act() for _ in range(self.rng.randint(5, 12)))

    def _administer(self) -> str:
        # A reference command that is set aside has no outcome, and the final checks ask for one.
        return "not now" if self.broker.clock.skew > MAX_HOLD_MS else self.admin.act()

    def _poison(self) -> str:
        self.faults["poison"] += 1
        return send_poison(self.broker, self.watch, self.rng, self.clients.new_id)

    def _some(self) -> Worker:
        return self.rng.choice(self.workers)

    def _kill(self) -> str:
        return self._some().kill()

    def _terminate(self) -> str:
        worker = self._some()
        if self.rng.random() < 0.5:
            return worker.terminate()
        # In the middle of a rebalance, while batches end.
        self.loop.call_later(self.rng.uniform(0.2, 2.5), worker.terminate)
        return f"{worker.name} soon; {self._rebalance()}"

    def _freeze(self) -> str:
        return self._some().freeze()

    def _thaw(self) -> str:
        return self._some().thaw()

    def _rebalance(self) -> str:
        self.faults["rebalance"] += 1
        rush = self._rush() if self.rng.random() < 0.5 else "nothing"
        self.loop.call_later(self.rng.choice((0.0, 0.1, 0.5)), self.group.rebalance)
        return f"all join again, after {rush}"

    def _step_clock(self) -> str:
        worker = self._some()
        # One clock at a time is far off: two that are wrong alike agree, and nobody could tell.
        steps = (-2000, 0, 2000) if self.broker.clock.skew else (-HOUR_MS, 0, 2000, HOUR_MS)
        worker.step_clock(self.rng.choice(steps))
        self.faults["clock step"] += 1
        return f"{worker.name} {worker.skew}"

    def _step_broker_clock(self) -> str:
        far = any(abs(worker.skew) > MAX_HOLD_MS for worker in self.workers)
        self.broker.clock.skew = 0 if far else self.rng.choice((-HOUR_MS, -30_000, -3000, 0, 3000, 30_000, HOUR_MS))
        self._clocks_changed()
        self.faults["broker clock step"] += 1
        return str(self.broker.clock.skew)

    def _clocks_changed(self) -> None:
        for worker in self.workers:
            worker.clocks_since = self.broker.clock.now

    def _broker_away(self) -> str:
        seconds = self.rng.choice((1.0, 5.0, 40.0, 70.0))
        self.network.away_until = self.loop.time() + seconds
        self.loop.call_later(seconds, self._clocks_changed)
        self.faults["broker away"] += 1
        return f"{seconds} s"

    def _remember_disks(self) -> str:
        for worker in self.workers:
            worker.remember_disks()
        return "flushed"


def _asked(topic: str, partition: int, row: Row) -> object:
    """What a record asks for: equal for repeats of one command or event, None for what nobody can read."""
    incoming = Incoming(topic, partition, row.offset, row.timestamp, row.key, row.value, row.headers)
    try:
        if topic == topics.COMMANDS:
            command = parse(incoming)
            return command.command_id, payload_hash(command)
        body = orjson.loads(row.value or b"")
    except ValueError:
        return None
    return body["event_id"] if topic == topics.SECURITY else body["command_id"]


def _drop(logger: object, name: str, event: MutableMapping[str, Any]) -> NoReturn:
    raise structlog.DropEvent


@contextmanager
def _silence() -> Iterator[None]:
    """Thousands of simulated processes have nothing to tell."""
    before = structlog.get_config()
    structlog.configure(processors=[_drop])
    try:
        yield
    finally:
        structlog.configure(**before)


def run_host_seed(seed: int) -> HostRun:
    """One run. Raises `HostSeedFailed`."""
    found = HostRun(seed)
    try:
        found.run()
    except Broken as broken:
        raise HostSeedFailed(seed, broken, found.trace) from broken
    return found


def main() -> NoReturn:
    """Run the seeds named on the command line, and say what they did."""
    for seed in map(int, sys.argv[1:]):
        found = run_host_seed(seed)
        rows = sum(len(rows) for (topic, _), rows in found.broker.logs.items() if topic == topics.COMMANDS)
        sys.stdout.write(f"seed {seed}: {rows} commands, {dict(found.faults)}, {found.loop.time():.0f} s\n")
    raise SystemExit(0)


if __name__ == "__main__":
    main()
