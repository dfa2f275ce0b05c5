"""Reference data and rules that change under way, and security events."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson

from ops.simulation.broker import Broker
from ops.simulation.organisation import (
    ASSIGNMENTS,
    MANAGERS,
    RULES,
    SALES,
    STAND_INS,
    assignment_id,
    delegation_id,
    user_body,
)
from ops.simulation.shards import PARTITIONS
from schemas import topics


class Administration:
    """An admin's edits; most deactivated people come back, so that runs do not dry out."""

    def __init__(
        self,
        broker: Broker,
        rng: random.Random,
        new_id: Callable[[], str],
        away: list[str],
        stand_ins: list[tuple[str, str]],
        faults: Counter[str],
    ) -> None:
        self._faults = faults
        self._broker = broker
        self._rng = rng
        self._new_id = new_id
        self._away = away
        self._stand_ins = stand_ins
        self._delegations = [delegation_id(*pair) for pair in STAND_INS]
        self._book: list[dict[str, Any]] = []

    def act(self) -> str:
        """Send one reference command; what it does."""
        rng, chance = self._rng, self._rng.random()
        if self._book and chance < 0.1:
            self._append(rng.choice(self._book[-4:]))
            self._faults["reference command twice"] += 1
            return "reference retry"
        if chance < 0.3:
            return self._delegate()
        if chance < 0.6:
            if self._away and rng.random() < 0.6:
                return self._put(self._away.pop(), user_body, active=True)
            name = rng.choice((*MANAGERS[:3], *SALES))
            self._away.append(name)
            self._faults["user deactivated"] += 1
            return self._put(name, user_body, active=False)
        if chance < 0.75:
            yaml = rng.choice(RULES)
            self._faults["rules changed"] += 1
            self._send({"type": "PutEntity", "entity_id": "rules", "body": {"kind": "rules", "yaml": yaml}})
            return "rules"
        category, level, approver, region = rng.choice(ASSIGNMENTS)
        id_ = assignment_id(category, level, approver)
        self._faults["assignment changed"] += 1
        if rng.random() < 0.4:
            self._send({"type": "RemoveEntity", "kind": "assignment", "entity_id": id_})
        else:
            approver = rng.choice((approver, rng.choice(MANAGERS)))
            body = {
                "kind": "assignment",
                "category_id": category,
                "level": level,
                "approver_id": approver,
                "region": region,
            }
            self._send({"type": "PutEntity", "entity_id": id_, "body": body})
        return "assignment"

    def _delegate(self) -> str:
        """Somebody names a delegate for a while, or takes it back; an admin does it for them, or a stranger tries."""
        rng = self._rng
        if self._delegations and rng.random() < 0.3:
            self._faults["delegation ended"] += 1
            id_ = rng.choice(self._delegations[-4:])
            self._send({"type": "RemoveEntity", "kind": "delegation", "entity_id": id_})
            return "delegation ended"
        delegator, delegate = rng.sample(MANAGERS, 2)
        id_, now = self._new_id(), self._broker.clock.now
        begins = now + rng.choice((-1_000, 0, 0, 0, 4_000))
        body = {
            "kind": "delegation", "delegator_id": delegator, "delegate_id": delegate, "from_ms": begins,
            "until_ms": begins + rng.choice((3_000, 20_000, 90_000, 300_000)),
        }  # fmt: skip
        self._faults["delegate named"] += 1
        self._delegations.append(id_)
        self._stand_ins.append((delegator, delegate))
        actor = rng.choice((delegator, delegator, delegator, "adm", rng.choice(MANAGERS)))
        self._send({"type": "PutEntity", "entity_id": id_, "body": body, "actor_id": actor})
        return f"{delegate} for {delegator}"

    def bring_back(self) -> None:
        """Whoever is away comes back."""
        while self._away:
            self._put(self._away.pop(), user_body, active=True)

    def sign_in(self) -> str:
        """A gateway reports a login, sometimes twice: its first report was not acknowledged."""
        user = self._rng.choice(MANAGERS)
        event = {
            "event_id": self._new_id(),
            "action": "login",
            "outcome": "accepted",
            "user_id": user,
            "roles": ["manager"],
            "correlation_id": self._new_id(),
            "source_address": "192.0.2.1",
            "salt": f"{self._rng.getrandbits(128):032x}",
        }
        partition = MANAGERS.index(user) % PARTITIONS
        times = 2 if self._rng.random() < 0.2 else 1
        for _ in range(times):
            self._broker.append(topics.SECURITY, partition, user.encode(), orjson.dumps(event), [])
        self._faults["security event twice"] += times - 1
        return f"sign-in of {user}"

    def _put(self, name: str, body: Callable[..., dict[str, Any]], *, active: bool) -> str:
        self._send({"type": "PutEntity", "entity_id": name, "body": body(name, active=active)})
        return "user back" if active else "user away"

    def _send(self, fields: dict[str, Any]) -> None:
        command_id = self._new_id()
        body = {"command_id": command_id, "actor_id": "adm", "correlation_id": command_id, **fields}
        self._book.append(body)
        self._append(body)

    def _append(self, body: dict[str, Any]) -> None:
        self._broker.append(topics.REFERENCE_COMMANDS, 0, body["entity_id"].encode(), orjson.dumps(body), [])
