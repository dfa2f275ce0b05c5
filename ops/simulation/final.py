"""What must hold once faults have stopped and everything has run: each check one sentence of `quality.md`."""

from __future__ import annotations

from typing import Any

import orjson

from agents.outputs import receivers
from agents.ports import Incoming
from agents.requests import REQUESTS, WINDOWS, parse, payload_hash
from agents.stand_ins import TASKS
from ops.simulation.broker import Broker, Row
from ops.simulation.failure import holds
from ops.simulation.organisation import baseline
from ops.simulation.processes import Cluster
from ops.simulation.readside import ReadSide
from ops.simulation.replay import Replay
from ops.simulation.shards import PARTITIONS
from ops.simulation.watch import Watch
from schemas import topics
from schemas.commands import TIMED
from schemas.envelope import derived_id
from schemas.reference import REFERENCE_COMMANDS
from tables.record import Record
from tables.windows import window_key


def check_stores(cluster: Cluster) -> None:
    """Each owner's local store is what its changelog says; the window index holds every open window."""
    broker = cluster.broker
    for partition in range(PARTITIONS):
        task = cluster.owner[topics.COMMANDS, partition]
        assert task is not None
        store = task.process.store(task.key, REQUESTS)
        windows = task.process.store(task.key, WINDOWS)
        latest = broker.latest[topics.REQUESTS_CHANGELOG, partition]
        written = {key: value for key, value in latest.items() if value is not None}
        holds(store.data == written, "a local store differs from its changelog", task.key, task.process.name)
        for key, data in store.scan():
            due = Record.decode(data).due
            if due is not None:
                entry = windows.get(window_key(due.at, key.decode()))
                holds(entry is not None, "what time will do is not indexed", key, due)


def check_windows(read_side: ReadSide, now: int) -> None:
    """No window is left open after its time."""
    for ledger in read_side.requests.values():
        if ledger.status in ("approved", "rejected") and ledger.newest is not None:
            due = ledger.newest.at + ledger.window
            holds(due > now, "a window was left open after its time", ledger.id, ledger.status, due, now)


def check_waiting(read_side: ReadSide, now: int) -> None:
    """Nobody is left waiting without a reminder, or the level above without being asked."""
    for ledger in read_side.requests.values():
        for what, due in (("a reminder", ledger.remind_at), ("an escalation", ledger.escalate_at)):
            holds(due is None or due > now, f"{what} was left out", ledger.id, ledger.status, due, now)


def check_outcomes(broker: Broker, watch: Watch) -> None:
    """Each command in the log ended in exactly one outcome, the first record with its id deciding which."""
    forgotten = watch.read_side.forgotten
    twice = {id_: (watch.outcomes[id_], other) for id_, other in watch.other_outcomes.items() if id_ not in forgotten}
    holds(not twice, "one command id had two outcomes", twice)
    for partition in range(PARTITIONS):
        first: dict[str, tuple[int, str]] = {}
        for row in broker.rows(topics.COMMANDS, partition):
            place = (topics.COMMANDS, partition, row.offset)
            if place in watch.poison:
                holds(place in watch.dead, "a record that cannot be processed left no dead letter", place)
                continue
            command = parse(_incoming(partition, row))
            if isinstance(command, TIMED):
                continue
            id_, hash_ = command.command_id, payload_hash(command)
            if id_ in forgotten:
                continue
            offset, first_hash = first.setdefault(id_, (row.offset, hash_))
            outcome = watch.outcomes.get(id_)
            holds(outcome is not None, "an acknowledged command has no outcome", place, id_)
            found: dict[str, Any] = orjson.loads(outcome or b"{}")
            holds(found["offset"] == offset, "a later record with the same id decided the outcome", place, found)
            reused = (id_, row.offset) in watch.reused
            holds(
                reused == (hash_ != first_hash),
                "same id: refused as reused exactly if the payload differs",
                place,
                reused,
            )
    for row in broker.rows(topics.REFERENCE_COMMANDS, 0)[baseline().end(topics.REFERENCE_COMMANDS, 0) :]:
        id_ = REFERENCE_COMMANDS.validate_json(row.value or b"").command_id
        holds(
            id_ in watch.outcomes or (id_, row.offset) in watch.reused, "a reference command has no outcome", row.offset
        )


def check_notifications(replay: Replay, watch: Watch) -> None:
    """Everybody who is to be told of an event is told, and nobody else but those who stood in for them at that time."""
    expected, allowed = set(), set()
    delegations = _delegations(watch.broker)
    for request_id, told in replay.told.items():
        entity, before = f"request:{request_id}", None
        for event, after in zip(told.events, told.states, strict=True):
            seq = watch.read_side.seqs[request_id][event.version - 1]
            for template, user in receivers(event, before, after):
                expected.add(derived_id(entity, seq, template, user))
                allowed |= {
                    derived_id(entity, seq, template, one["delegate_id"])
                    for one in delegations
                    if template in TASKS
                    and one["delegator_id"] == user
                    and one["from_ms"] <= event.at < one["until_ms"]
                }
            before = after
    found = set(watch.notifications)
    wrong = (expected - found) | (found - expected - allowed)
    holds(not wrong, "notifications missing or too many", wrong)


def _delegations(broker: Broker) -> list[dict[str, Any]]:
    """All that there ever were."""
    rows = broker.rows(topics.REFERENCE, 0)
    return [
        orjson.loads(row.value)
        for row in rows
        if row.key is not None and row.value is not None and row.key.startswith(b"delegation:")
    ]


def check_reference(cluster: Cluster) -> None:
    """What every process reads as reference data is what the reference shard decided."""
    latest: dict[bytes, bytes | None] = {}
    for row in cluster.broker.rows(topics.REFERENCE, 0):
        assert row.key is not None
        latest[row.key] = row.value
    for key, data in cluster.broker.latest[topics.CATALOG_CHANGELOG, 0].items():
        if key.startswith(b"\x00") or data is None or key == b"rules":
            continue
        entity = orjson.loads(data)[0]
        told = latest.get(key)
        holds(
            (None if told is None else orjson.loads(told)) == entity,
            "reference data differs from what was decided",
            key,
        )


def _incoming(partition: int, row: Row) -> Incoming:
    return Incoming(topics.COMMANDS, partition, row.offset, row.timestamp, row.key, row.value, row.headers)
