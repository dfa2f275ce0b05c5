"""What a decision used existed when it was made, was no older than what the command's sender had seen, and is of the log's time."""

from __future__ import annotations

from typing import Any

import orjson

from ops.simulation.broker import Broker
from ops.simulation.failure import holds
from schemas import topics


class Pins:
    """Compares decisions with `athena.reference` as far as it had been written, and as far as the sender had read."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._sent: dict[tuple[int, str], tuple[int, str]] = {}
        self._times: dict[tuple[int, str], list[int]] = {}
        self._newest: dict[str, int] = {}

    def sent(self, partition: int, body: dict[str, Any], at: int) -> None:
        """The first record with this command id was sent by somebody who had read so far. `at`: its append time in ms."""
        place = (partition, body["command_id"])
        self._sent.setdefault(place, (body.get("reference_offset", 0), body["actor_id"]))
        self._times.setdefault(place, []).append(at)

    def check(self, partition: int, record: dict[str, Any]) -> None:
        """`Broken` if an accepted decision used reference data that was not there, or older than its sender knew."""
        event = record["event"]
        if event is None:
            return
        before = self._newest.get(record["request_id"], 0)
        times = {max(at, before) for at in self._times.get((partition, record["command_id"]), ())}
        holds(event["at"] in times, "a decision at another time than the log's", event, sorted(times))
        self._newest[record["request_id"]] = event["at"]
        sent = self._sent.get((partition, record["command_id"]))
        seen = 0 if sent is None else sent[0]
        if event["type"] == "Submitted":
            known = [int(one["id"]) for one in self._entities("rules:", seen)]
            exists = [int(one["id"]) for one in self._entities("rules:", None)]
            pinned = event["rules_version"]
            holds(pinned in exists, "a decision pinned rules that were not published", pinned, exists)
            holds(pinned >= max(known, default=0), "a decision used older rules than its sender knew", pinned, known)
        if event["type"] in ("Approved", "Rejected"):
            actor = event["actor_id"]
            known_version = max((one["version"] for one in self._entities(f"user:{actor}", seen)), default=0)
            later = [one for one in self._entities(f"user:{actor}", None) if one["version"] >= known_version]
            holds(
                any(one["active"] for one in later),
                "a decision by somebody its sender knew to be inactive",
                actor,
                sent,
            )
            owner = event.get("on_behalf_of")
            if owner is not None:
                named = self._named(owner, actor, event["at"], seen)
                holds(named, "a vote for somebody who had not named a delegate for this time", event, sent)

    def _named(self, delegator: str, delegate: str, at: int, seen: int) -> bool:
        """Whether there was such a delegation at that time, of which the sender did not know that it was ended."""
        ended = {
            row.key
            for row in self._broker.rows(topics.REFERENCE, 0)[:seen]
            if row.key is not None and row.value is None
        }
        return any(
            one["delegator_id"] == delegator
            and one["delegate_id"] == delegate
            and one["from_ms"] <= at < one["until_ms"]
            for one in self._entities("delegation:", None)
            if f"delegation:{one['id']}".encode() not in ended
        )

    def _entities(self, prefix: str, end: int | None) -> list[dict[str, Any]]:
        wanted = prefix.encode()
        exact = not prefix.endswith(":")
        rows = self._broker.rows(topics.REFERENCE, 0)[:end]
        return [
            orjson.loads(row.value)
            for row in rows
            if row.key is not None
            and row.value is not None
            and (row.key == wanted if exact else row.key.startswith(wanted))
        ]
