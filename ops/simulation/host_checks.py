"""What must hold of the layer around the shards, checked where it happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import orjson

from agents.clock import MAX_SKEW_MS, PROBE_EVERY_S
from agents.host import CLOSE_TIMEOUT_S, STOP_TIMEOUT_S
from agents.host_ports import Key
from agents.requests import WINDOWS, parse
from agents.topology import CHANGELOGS, TABLES
from ops.simulation.broker import Broker, Row
from ops.simulation.failure import Broken, holds
from ops.simulation.final import _incoming
from ops.simulation.host_faust import SimulatedFaust
from ops.simulation.host_group import Group
from ops.simulation.host_world import SimulatedShardLog
from ops.simulation.stores import FENCE
from ops.simulation.watch import Watch
from schemas import topics
from schemas.commands import TIMED
from schemas.reference import REFERENCE_COMMANDS
from tables.record import Record

if TYPE_CHECKING:
    from ops.simulation.host_worker import Worker

#: After a clock was stepped, or a worker was thawed: until it has asked for the broker's time, and finished what it had begun.
NOTICED_MS = (PROBE_EVERY_S + 10.0) * 1000


class Checks:
    """Keeps what it found until `nothing_broken`: raised inside a process it would be that process's error."""

    def __init__(self, broker: Broker, watch: Watch) -> None:
        self._broker = broker
        self._watch = watch
        self._found: list[Broken] = []
        broker.watchers[:] = [self._guarded(one) for one in broker.watchers]
        self._told: dict[int, int] = {}
        broker.watchers += [self._decided, self._in_order]

    def nothing_broken(self) -> None:
        """Raise the first thing that was found."""
        if self._found:
            raise self._found[0]

    def _guarded(self, watcher: Callable[[str, int, Row], None]) -> Callable[[str, int, Row], None]:
        def look(topic: str, partition: int, row: Row) -> None:
            try:
                watcher(topic, partition, row)
            except Broken as broken:
                self._found.append(broken)

        return look

    def holds(self, condition: bool, message: str, *facts: object) -> None:
        try:
            holds(condition, message, *facts)
        except Broken as broken:
            self._found.append(broken)

    def commit(self, key: Key, offset: int) -> None:
        """No commit past what is not done."""
        for row in self._broker.rows(*key)[self._broker.committed.get(key, 0) : offset]:
            self.holds(self._done(key, row), "an offset is committed whose record is not done", key, row.offset, offset)

    def _done(self, key: Key, row: Row) -> bool:
        topic, partition = key
        place = (topic, partition, row.offset)
        if place in self._watch.poison:
            return place in self._watch.dead
        if topic == topics.COMMANDS:
            command = parse(_incoming(partition, row))
            if isinstance(command, TIMED):
                return True
            id_ = command.command_id
        elif topic == topics.REFERENCE_COMMANDS:
            id_ = REFERENCE_COMMANDS.validate_json(row.value or b"").command_id
        else:
            user = orjson.loads(row.value or b"")["user_id"]
            return f"session:{user}" in self._watch.read_side.chains
        return id_ in self._watch.outcomes or (id_, row.offset) in self._watch.reused

    def _decided(self, topic: str, partition: int, row: Row) -> None:
        """Nothing is decided at a time that has not come."""
        if topic != topics.AUDIT:
            return
        body = orjson.loads(row.value or b"")
        event, now = body["event"], self._broker.clock.now
        if event is not None and body["entity"].startswith("request:"):
            ahead = event["at"] - now
            self.holds(ahead <= 2 * MAX_SKEW_MS, "decided at a time that had not come", body["entity"], ahead)

    def _in_order(self, topic: str, partition: int, row: Row) -> None:
        """No command is decided before an earlier one of its partition."""
        if topic != topics.OUTCOMES:
            return
        body = orjson.loads(row.value or b"")
        if body["request_id"] is None:
            return
        number, end = body["partition"], body["offset"]
        for earlier in self._broker.rows(topics.COMMANDS, number)[self._told.get(number, 0) : end]:
            done = (topics.COMMANDS, number, earlier.offset) in self._watch.poison or self._done(
                (topics.COMMANDS, number), earlier
            )
            if not done and self._of_earlier_owner(number, end, body["request_id"]):
                return
            self.holds(done, "a command is decided before an earlier one", number, earlier.offset, end)
        self._told[number] = max(end, self._told.get(number, 0))

    def _of_earlier_owner(self, number: int, offset: int, request_id: str) -> bool:
        """Whether it was decided before the shard was claimed last. What a torn batch has linked is told again as soon as something
        else is linked behind it, which may be an earlier command whose own decision was lost with the batch."""
        for changelog, name in (
            (topics.CHAINS_CHANGELOG, f"partition:{number}"),
            (topics.REQUESTS_CHANGELOG, request_id),
        ):
            claimed, key = False, name.encode()
            for row in reversed(self._broker.rows(changelog, number)):
                claimed = claimed or row.key == FENCE
                if claimed and row.key == key:
                    kept = Record.decode(row.value).emissions if row.value is not None else ()
                    if any(one.offset == offset for one in kept):
                        return True
                    break
        return False

    def works(self, worker: Worker, what: str) -> None:
        """A worker claims a shard: not between a revocation and the next assignment. It decides, or sweeps: not while its clock and
        the broker's are apart, from when it must have noticed, nor sweeps from when it has."""
        faust = worker.faust
        if faust is not None and what == "claimed":
            self.holds(not faust.given_up, "a shard is claimed that was given up", worker.name)
        if what == "claimed":
            return
        apart = abs(worker.skew - self._broker.clock.skew)
        noticed = self._broker.clock.now - worker.clocks_since > NOTICED_MS
        self.holds(apart <= 2 * MAX_SKEW_MS or not noticed, f"{what} although the clocks are apart", worker.name, apart)
        if faust is not None and what == "swept":
            self.holds(faust.host.clock.sane, "swept although the clocks are known to be apart", worker.name, apart)

    def opened(self, worker: Worker, faust: SimulatedFaust) -> None:
        """Shards are built only on a claim that is complete, from tables that hold all that earlier owners wrote."""
        for key, runner in faust.host.runners.items():
            log = cast(SimulatedShardLog, runner._log)
            for table in TABLES[key[0]]:
                marker, held = log.markers.get(table), worker.disk(key, table).offset
                self.holds(marker is not None, "a shard is opened that is not claimed yet", worker.name, key)
                self.holds(marker is None or held >= marker, "a shard is opened on an old table", key, held, marker)

    def stopped(self, worker: Worker, seconds: float) -> None:
        """When a worker has stopped nothing of it is under way, unless it gave up waiting for the broker."""
        self.holds(seconds <= STOP_TIMEOUT_S + CLOSE_TIMEOUT_S + 6.0, "stopping took too long", worker.name, seconds)
        # Sums of seconds end a little before the bound.
        if seconds < STOP_TIMEOUT_S - 0.001:
            writing = [log.key for log in worker.logs if log.writing]
            self.holds(not writing, "a stopped worker still writes", worker.name, writing)

    def stores(self, group: Group, workers: Sequence[Worker]) -> None:
        """Each owner's local store is what its changelog says."""
        for worker in workers:
            seat = group.seats.get(worker.name)
            holds(seat is not None, "a worker is no member of the group although all faults are over", worker.name)
            assert seat is not None
            for key in sorted(seat.assigned):
                # The index of windows is mended locally, without its changelog.
                for table in TABLES[key[0]]:
                    if table == WINDOWS:
                        continue
                    latest = self._broker.latest[CHANGELOGS[table], key[1]]
                    written = {one: value for one, value in latest.items() if value is not None}
                    held = worker.disk(key, table).data
                    own = {one: value for one, value in held.items() if one != FENCE}
                    written.pop(FENCE, None)
                    holds(own == written, "a local store differs from its changelog", key, table, worker.name)
