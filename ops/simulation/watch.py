"""What is checked at each record as it is written: cheap, and close to the mistake."""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson

from ops.simulation.broker import Broker, Row
from ops.simulation.failure import holds
from ops.simulation.organisation import baseline
from ops.simulation.pins import Pins
from ops.simulation.readside import ReadSide
from schemas import topics
from tables.record import seq_of

_REUSED = "idempotency-key-reused"


@cache
def _baseline_read_side() -> ReadSide:
    made = ReadSide()
    for (topic, _), rows in baseline().logs.items():
        for row in rows if topic == topics.AUDIT else ():
            assert row.value is not None
            made.apply(row.value)
    return made


class Watch:
    """Looks at every output. `poison` holds the places of records that may become dead letters."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.read_side = _baseline_read_side().copy()
        self.pins = Pins(broker)
        self.poison: set[tuple[str, int, int]] = set()
        self.dead: set[tuple[str, int, int]] = set()
        self.outcomes: dict[str, bytes] = {}
        self.other_outcomes: dict[str, bytes] = {}
        self.reused: set[tuple[str, int]] = set()
        self.failed: set[str] = set()
        self.notifications: dict[str, bytes] = {}
        self._by_topic = {
            topics.AUDIT: self._audit,
            topics.OUTCOMES: self._outcome,
            topics.NOTIFICATIONS: self._notification,
            topics.DEAD_LETTERS: self._dead_letter,
        }
        broker.watchers.append(self)

    def __call__(self, topic: str, partition: int, row: Row) -> None:
        if topic == topics.COMMANDS:
            self._sent(partition, row)
            return
        look = self._by_topic.get(topic)
        if look is not None and row.value is not None:
            look(partition, row.value)

    def _sent(self, partition: int, row: Row) -> None:
        try:
            self.pins.sent(partition, orjson.loads(row.value or b""), row.timestamp)
        except (ValueError, KeyError, TypeError):
            # Garbage; it will be a dead letter.
            return

    def _audit(self, partition: int, value: bytes) -> None:
        record = self.read_side.apply(value)
        if record is None:
            return
        entity = record["entity"]
        if entity.startswith("request:"):
            self._state_first(topics.REQUESTS_CHANGELOG, partition, entity[8:], record["seq"])
            self.pins.check(partition, record)
        elif entity.startswith("partition:"):
            self._state_first(topics.CHAINS_CHANGELOG, partition, entity, record["seq"])

    def _state_first(self, changelog: str, partition: int, key: str, seq: int) -> None:
        data = self.broker.latest[changelog, partition].get(key.encode())
        holds(data is not None, "an output is visible whose state is not in the changelog", key, seq)
        assert data is not None
        held = seq_of(data)
        holds(held >= seq, "an output is visible whose state is not in the changelog", key, seq, held)

    def _outcome(self, partition: int, value: bytes) -> None:
        body: dict[str, Any] = orjson.loads(value)
        command_id = body["command_id"]
        if body["status"] == "failed":
            self.failed.add(command_id)
        elif body["code"] == _REUSED:
            self.reused.add((command_id, body["offset"]))
        else:
            before = self.outcomes.setdefault(command_id, value)
            if before != value:
                # Excused if its refusal was pushed out by others, which the audit stream tells, perhaps after this.
                self.other_outcomes[command_id] = value

    def _notification(self, partition: int, value: bytes) -> None:
        id_ = orjson.loads(value)["id"]
        before = self.notifications.setdefault(id_, value)
        holds(before == value, "a notification was repeated with other bytes", before, value)

    def _dead_letter(self, partition: int, value: bytes) -> None:
        body = orjson.loads(value)
        place = (body["topic"], body["partition"], body["offset"])
        holds(place in self.poison, "a good command became a dead letter", place, body["error"], body["trace"])
        self.dead.add(place)
