"""People and the system at work: commands that are plausible most of the time, and a book of what was acknowledged."""

from __future__ import annotations

import random
import uuid
from typing import Any

import orjson

from ops.simulation.broker import Broker
from ops.simulation.ledger import Ledger, Standing
from ops.simulation.organisation import AMOUNTS, CATEGORIES, PEOPLE, SALES
from ops.simulation.shards import PARTITIONS
from ops.simulation.watch import Watch
from schemas import topics
from schemas.commands import SYSTEM

#: Requests of one run at most: few, so that each sees many commands.
REQUESTS = 5


class Clients:
    """Sends commands as gateways do: a command is acknowledged once it is in the log."""

    def __init__(self, broker: Broker, watch: Watch, rng: random.Random) -> None:
        self._broker = broker
        self._watch = watch
        self._rng = rng
        self.requests: list[str] = []
        self.book: list[dict[str, Any]] = []
        #: Whom the admin has deactivated; they try all the same.
        self.away: list[str] = []

    def act(self) -> str:
        """Send one command; its type."""
        rng, chance = self._rng, self._rng.random()
        if self.book and chance < 0.08:
            return self._again()
        if len(self.requests) < REQUESTS and (not self.requests or chance < 0.25):
            return self._submit()
        if chance < 0.27:
            return self._submit(rng.choice(self.requests))
        visible = list(self._watch.read_side.requests.values())
        if not visible or chance > 0.96:
            # Blind: not visible yet, refused, or never filed.
            request_id = rng.choice(self.requests) if rng.random() < 0.7 else self.new_id()
            return self._send("Approve", request_id, rng.choice(PEOPLE), {})
        return self._on(rng.choice(visible))

    def _submit(self, request_id: str | None = None) -> str:
        rng = self._rng
        if request_id is None:
            request_id = self.new_id()
            self.requests.append(request_id)
        actor = rng.choice(SALES) if rng.random() < 0.95 else rng.choice(PEOPLE)
        body = {
            "category_id": rng.choice(CATEGORIES),
            "reason_id": "any" if rng.random() < 0.95 else rng.choice(("gone", "none")),
            "title": f"request {len(self.book)}",
            "description": rng.choice((None, "text")),
            "amount": rng.choice(AMOUNTS),
            "currency": "EUR" if rng.random() < 0.8 else rng.choice(("USD", "GBP")),
        }
        return self._send("SubmitRequest", request_id, actor, body)

    def _on(self, ledger: Ledger) -> str:
        rng = self._rng
        anybody = rng.choice(PEOPLE)
        chance = rng.random()
        if ledger.open_route is not None and chance < 0.62:
            actor = rng.choice(sorted(ledger.open_route.pool)) if rng.random() < 0.85 else anybody
            if self.away and self.away[-1] in ledger.open_route.pool and rng.random() < 0.3:
                actor = self.away[-1]
            if rng.random() < 0.15:
                return self._send("Reject", ledger.id, actor, {"comment": "no"})
            return self._send("Approve", ledger.id, actor, {"comment": rng.choice((None, "yes"))})
        if chance < 0.82:
            return self._rollback(ledger, anybody)
        if chance < 0.87:
            actor = ledger.requester if rng.random() < 0.7 else anybody
            return self._send("Withdraw", ledger.id, actor, {})
        if chance < 0.94:
            actor = rng.choice((SYSTEM, "adm", anybody))
            return self._send("Reassign", ledger.id, actor, {"level": rng.choice(("L1", "L1", "L2", "L3"))})
        return self._send("Comment", ledger.id, rng.choice((ledger.requester, anybody)), {"text": f"says {anybody}"})

    def _rollback(self, ledger: Ledger, anybody: str) -> str:
        rng = self._rng
        decision = ledger.newest
        if ledger.votes and rng.random() < 0.3:
            decision = rng.choice(ledger.votes)
        if decision is None or rng.random() < 0.1:
            return self._send("Rollback", ledger.id, anybody, {})
        if rng.random() < 0.25:
            self._to_the_edge(ledger, decision)
        return self._send("Rollback", ledger.id, decision.actor, {"comment": rng.choice((None, "wrong"))})

    def _to_the_edge(self, ledger: Ledger, decision: Standing) -> None:
        """Let the record arrive just when the window ends: one ms before, at, or after it."""
        clock = self._broker.clock
        edge = decision.at + ledger.window + self._rng.choice((-1, 0, 0, 1))
        if edge > clock.append_time:
            clock.now += edge - clock.append_time

    def _again(self) -> str:
        """A retry: the same command; sometimes the same id with another payload."""
        rng = self._rng
        body = dict(rng.choice(self.book[-12:]))
        body["correlation_id"] = self.new_id()
        if rng.random() < 0.3:
            name = "text" if "text" in body else "title" if "title" in body else "expected_version"
            body[name] = f"other {rng.randrange(3)}" if name != "expected_version" else rng.randrange(4)
            kind = "other payload"
        else:
            kind = "retry"
        self._append(body)
        return kind

    def new_id(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def _send(self, kind: str, request_id: str, actor: str, fields: dict[str, Any]) -> str:
        rng = self._rng
        end = self._broker.end(topics.REFERENCE, 0)
        ledger = self._watch.read_side.requests.get(request_id)
        body: dict[str, Any] = {
            "type": kind,
            "command_id": self.new_id(),
            "request_id": request_id,
            "actor_id": actor,
            "correlation_id": self.new_id(),
            "salt": f"{rng.getrandbits(128):032x}",
            "reference_offset": end if rng.random() < 0.7 else rng.randint(0, end),
        }
        if ledger is not None and rng.random() < 0.3:
            body["expected_version"] = max(0, ledger.version - rng.choice((0, 0, 0, 1, -1)))
        body |= fields
        self.book.append(body)
        self._append(body)
        return kind

    def _append(self, body: dict[str, Any]) -> None:
        partition = partition_of(body["request_id"])
        self._watch.pins.sent(partition, body["command_id"], body["reference_offset"], body["actor_id"])
        self._broker.append(topics.COMMANDS, partition, body["request_id"].encode(), orjson.dumps(body), [])


def partition_of(request_id: str) -> int:
    """Any stable spread will do here."""
    return int(request_id[0], 16) % PARTITIONS
