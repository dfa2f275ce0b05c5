"""The consumer group as Kafka's coordinator keeps it: generations, eager rebalances, sessions, static members."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agents.host_ports import Key
from ops.simulation.broker import Broker
from ops.simulation.host_loop import Life
from ops.simulation.shards import SHARDS

SESSION_S = 6.0
#: How long a rebalance waits for members that do not join again.
JOIN_S = 8.0


class FencedInstance(Exception):
    """Another process has joined under the same static name."""


@dataclass(eq=False, slots=True)
class Seat:
    """A static member: its place outlives its process for the session time-out."""

    name: str
    life: Life
    seen: float
    assigned: frozenset[Key] = frozenset()
    generation: int = 0
    joining: asyncio.Future[tuple[int, frozenset[Key]]] | None = None


@dataclass(slots=True)
class Group:
    """`on_commit` is told of each commit that the coordinator accepts, before it counts."""

    broker: Broker
    rng: random.Random
    on_commit: Callable[[Key, int], None]
    generation: int = 0
    seats: dict[str, Seat] = field(default_factory=dict)
    _since: float | None = None

    def owner(self, key: Key) -> Life | None:
        """Whose the shard is, in the coordinator's eyes."""
        return next((seat.life for seat in self.seats.values() if key in seat.assigned), None)

    def join(self, name: str, life: Life) -> asyncio.Future[tuple[int, frozenset[Key]]]:
        """Asked by a member that starts, or that must join again; answered when the rebalance is complete."""
        loop = asyncio.get_running_loop()
        seat = self.seats.get(name)
        answer: asyncio.Future[tuple[int, frozenset[Key]]] = loop.create_future()
        if seat is not None and seat.life is not life and self._since is None and self.rng.random() < 0.5:
            # A static member that came back in time takes its partitions back, and nobody else is disturbed.
            seat.life, seat.seen = life, loop.time()
            answer.set_result((seat.generation, seat.assigned))
            return answer
        if seat is None or seat.life is not life:
            if seat is not None and seat.joining is not None and not seat.joining.done():
                # A request of an earlier process may come late: whoever waits under that name is shut out, and starts again.
                seat.joining.set_exception(FencedInstance(name))
            self.seats[name] = seat = Seat(name, life, loop.time())
        seat.seen, seat.joining = loop.time(), answer
        self.rebalance()
        return answer

    def rebalance(self) -> None:
        """Everybody is to join again."""
        if self._since is None:
            self._since = asyncio.get_running_loop().time()

    def heartbeat(self, name: str, life: Life, generation: int) -> bool:
        """False when the member must give up what it has and join again."""
        seat = self.seats.get(name)
        if seat is None or seat.life is not life:
            return False
        seat.seen = asyncio.get_running_loop().time()
        return self._since is None and seat.generation == generation

    def commit(self, life: Life, name: str, generation: int, offsets: Mapping[Key, int]) -> bool:
        """Refused for anybody who is not a member of this generation."""
        seat = self.seats.get(name)
        if seat is None or seat.life is not life or seat.generation != generation:
            return False
        if self._since is not None and self.rng.random() < 0.5:
            return False  # the coordinator takes commits until the members have joined again
        for key, offset in offsets.items():
            if key in seat.assigned:
                self.on_commit(key, offset)
                self.broker.committed[key] = offset
        return True

    def tick(self) -> None:
        """Let sessions run out, and complete a rebalance for which everybody has come, or has had time to."""
        now = asyncio.get_running_loop().time()
        for name, seat in list(self.seats.items()):
            if seat.joining is None and now - seat.seen > SESSION_S:
                del self.seats[name]
                self.rebalance()
        if self._since is None:
            return
        missing = [seat for seat in self.seats.values() if seat.joining is None]
        if missing and now - self._since < JOIN_S:
            return
        for seat in missing:
            del self.seats[seat.name]
        self._since = None
        self.generation += 1
        self._assign()

    def _assign(self) -> None:
        seats = sorted(self.seats.values(), key=lambda seat: seat.name)
        shares: dict[str, set[Key]] = {seat.name: set() for seat in seats}
        for key in SHARDS if seats else ():
            before = [seat for seat in seats if key in seat.assigned]
            chosen = before[0] if before and self.rng.random() < 0.6 else self.rng.choice(seats)
            shares[chosen.name].add(key)
        for seat in seats:
            seat.assigned, seat.generation = frozenset(shares[seat.name]), self.generation
            seat.seen = asyncio.get_running_loop().time()
            answer, seat.joining = seat.joining, None
            if answer is not None and not answer.done():
                answer.set_result((self.generation, seat.assigned))
