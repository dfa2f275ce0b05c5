"""People and the system at work: commands that are plausible most of the time, and a book of what was acknowledged."""

from __future__ import annotations

import random
import uuid
from typing import Any

import orjson

from ops.simulation.broker import Broker
from ops.simulation.intents import Intent, Intents
from ops.simulation.ledger import Ledger, Standing
from ops.simulation.organisation import AMOUNTS, CATEGORIES, PEOPLE, SALES, STAND_INS
from ops.simulation.shards import partition_of
from ops.simulation.watch import Watch
from schemas import topics
from schemas.commands import SYSTEM

#: Requests at work at a time, and of one run: few, so that each sees many commands.
AT_WORK, REQUESTS = 5, 30
#: Refused commands of one burst: more than a record remembers.
BURST = 70
_OVER = frozenset({"finalized", "closed", "withdrawn"})


class Clients:
    """Commands through the gateways for the most part; some straight into the log, as another program would send them, and all
    where there are no `intents`."""

    def __init__(self, broker: Broker, watch: Watch, intents: Intents | None, rng: random.Random) -> None:
        self._broker = broker
        self._intents = intents
        self._watch = watch
        self._rng = rng
        self.requests: list[str] = []
        self.book: list[dict[str, Any]] = []
        #: Whom the admin has deactivated; they try all the same.
        self.away: list[str] = []
        #: (delegator, delegate) as they were named, the newest last; some of them hold.
        self.stand_ins: list[tuple[str, str]] = list(STAND_INS)

    def act(self) -> str:
        """Send one command; its type."""
        rng, chance = self._rng, self._rng.random()
        if self.book and chance < 0.08:
            return self._again()
        visible = self._watch.read_side.requests
        over = sum(1 for one in visible.values() if one.status in _OVER)
        room = len(self.requests) < REQUESTS and len(self.requests) - over < AT_WORK
        if not self.requests or (room and chance < 0.25):
            return self._submit()
        if chance < 0.27:
            return self._submit(rng.choice(self.requests))
        if not visible or chance > 0.96:
            # Blind: not visible yet, refused, or never filed.
            request_id = rng.choice(self.requests) if rng.random() < 0.7 else self.new_id()
            return self._send("Approve", request_id, rng.choice(PEOPLE), {})
        at_work = [one for one in visible.values() if one.status not in _OVER]
        return self._on(rng.choice(at_work if at_work and rng.random() < 0.85 else list(visible.values())))

    def burst(self) -> str:
        """More refusals on one request, one after the other, than a record remembers; all of them at once in the log."""
        if not self.requests:
            return "nobody"
        request_id = self._rng.choice(self.requests[-AT_WORK:])
        for _ in range(BURST):
            self._append(self._body("Approve", request_id, "aud", {}))
        return f"{BURST} on {request_id}"

    def take_back(self) -> None:
        """Whoever decided last changes their mind, wherever that can be."""
        for ledger in self._watch.read_side.requests.values():
            if ledger.newest is not None and ledger.status not in _OVER:
                self._append(self._body("Rollback", ledger.id, ledger.newest.actor, {}))

    def _submit(self, request_id: str | None = None) -> str:
        rng = self._rng
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
            actor = rng.choice(sorted(ledger.open_route.deciders)) if rng.random() < 0.85 else anybody
            if self.away and self.away[-1] in ledger.open_route.deciders and rng.random() < 0.3:
                actor = self.away[-1]
            deciders = ledger.open_route.deciders
            named = [
                delegate
                for delegator, delegate in (*self.stand_ins[-4:], *STAND_INS)
                if delegator in deciders and (delegate not in deciders or rng.random() < 0.2)
            ]
            if named and rng.random() < 0.4:
                actor = rng.choice(named)
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
        if self._intents is not None and self._intents.book and rng.random() < 0.8:
            intent = rng.choice(self._intents.book[-12:])
            if rng.random() < 0.3:
                fields = self._altered(intent.fields)
                intent = Intent(intent.user, intent.key, intent.kind, intent.request_id, fields)
                self._intents.book.append(intent)
            self._intents.post(intent)
            return f"again {intent.kind} {intent.command_id}"
        body = dict(rng.choice(self.book[-12:] or [self._body("Approve", self.new_id(), "abe", {})]))
        body["correlation_id"] = self.new_id()
        self._append(self._altered(body) if rng.random() < 0.3 else body)
        return f"again {body['type']} {body['command_id']}"

    def _altered(self, body: dict[str, Any]) -> dict[str, Any]:
        name = "text" if "text" in body else "title" if "title" in body else "expected_version"
        other = self._rng.randrange(4)
        return body | {name: other if name == "expected_version" else f"other {other}"}

    def new_id(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def _send(self, kind: str, request_id: str | None, actor: str, fields: dict[str, Any]) -> str:
        rng = self._rng
        ledger = None if request_id is None else self._watch.read_side.requests.get(request_id)
        if ledger is not None and rng.random() < 0.3:
            fields = fields | {"expected_version": max(0, ledger.version - rng.choice((0, 0, 0, 1, -1)))}
        straight = actor == SYSTEM or (kind == "SubmitRequest" and request_id is not None)
        if self._intents is not None and not straight and rng.random() < 0.85:
            intent = Intent(actor, self.new_id(), kind, request_id, fields)
            self._intents.book.append(intent)
            self._intents.post(intent)
            self._known(intent.target, kind)
            return f"{kind} {intent.target} by {actor}: {intent.command_id}"
        body = self._body(kind, request_id or self.new_id(), actor, fields)
        self.book.append(body)
        self._append(body)
        self._known(body["request_id"], kind)
        return f"{kind} {body['request_id']} by {actor} straight: {body['command_id']}"

    def _known(self, request_id: str, kind: str) -> None:
        if kind == "SubmitRequest" and request_id not in self.requests:
            self.requests.append(request_id)

    def _body(self, kind: str, request_id: str, actor: str, fields: dict[str, Any]) -> dict[str, Any]:
        rng = self._rng
        end = self._broker.end(topics.REFERENCE, 0)
        return {
            "type": kind,
            "command_id": self.new_id(),
            "request_id": request_id,
            "actor_id": actor,
            "correlation_id": self.new_id(),
            "salt": f"{rng.getrandbits(128):032x}",
            "reference_offset": end if rng.random() < 0.7 else rng.randint(0, end),
            **fields,
        }

    def _append(self, body: dict[str, Any]) -> None:
        partition = partition_of(body["request_id"])
        headers = [("ce_id", body["command_id"].encode())]
        self._broker.append(topics.COMMANDS, partition, body["request_id"].encode(), orjson.dumps(body), headers)
