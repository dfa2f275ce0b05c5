"""What people want of gateways, and what they were told: they repeat what stayed without an answer, and hold on to promises."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.http.answers import Answer
from gateway.http.describe import API
from gateway.http.problems import Problem
from gateway.identity.callers import Caller
from gateway.routes.commands import command_status
from gateway.streams.commands import issue
from ops.simulation.broker import Broker
from ops.simulation.failure import holds
from ops.simulation.gateways import Gateway
from ops.simulation.organisation import user_body
from ops.simulation.shards import partition_of
from ops.simulation.watch import Watch
from schemas import commands, topics
from schemas.codes import Code
from schemas.envelope import derived_id
from schemas.reference import User

PENDING = 202
UNKNOWN = 503


@dataclass(frozen=True, slots=True)
class Told:
    """One answer that settles a command: `replayed` as its header says."""

    status: int
    code: str | None
    etag: bytes | None
    replayed: bool


@dataclass(slots=True)
class Intent:
    """One command as somebody wants it, under one idempotency key. `waiting` POSTs and GETs are under way."""

    user: str
    key: str
    kind: str
    request_id: str | None
    fields: dict[str, Any]
    told: list[Told] = field(default_factory=list)
    promised: bool = False
    kept: tuple[str, str | None] | None = None
    waiting: int = 0

    @property
    def path(self) -> str:
        return f"{API}/requests" if self.request_id is None else f"{API}/requests/{self.request_id}/{self.kind.lower()}"

    @property
    def command_id(self) -> str:
        return derived_id("command", self.user, "POST", self.path, self.key)

    @property
    def target(self) -> str:
        return self.request_id or derived_id("request", self.command_id)

    @property
    def settled(self) -> bool:
        """Whether its sender knows what became of it, and any promise was kept."""
        return bool(self.told or self.kept) and (self.kept is not None or not self.promised)


class Intents:
    """Everybody's intents of one run."""

    def __init__(
        self, broker: Broker, watch: Watch, gateways: list[Gateway], rng: random.Random,
        done: Counter[str],
    ) -> None:  # fmt: skip
        self.book: list[Intent] = []
        self._broker = broker
        self._watch = watch
        self._gateways = gateways
        self._rng = rng
        self._done = done

    def post(self, intent: Intent) -> None:
        """Send it, through any gateway."""
        rng = self._rng
        ready = [one for one in self._gateways if one.ready]
        if not ready:
            return
        gateway = rng.choice(ready)
        intent.waiting += 1
        prefer = {"prefer": rng.choice(("respond-async", "wait=1", "wait=0"))} if rng.random() < 0.2 else {}
        call = gateway.call(self._new_id(), idempotency_key=intent.key, **prefer)
        gateway.spawn(self._post(intent, gateway, call, bool(prefer) and prefer["prefer"] != "wait=1"))

    async def _post(self, intent: Intent, gateway: Gateway, call: Any, at_once: bool) -> None:
        kind = getattr(commands, intent.kind)
        began = self._broker.clock.now
        try:
            try:
                answer = await issue(call, _caller(intent.user), kind, intent.path, intent.request_id, **intent.fields)
            except Problem as problem:
                answer = problem.answer(call.correlation_id)
        finally:
            intent.waiting -= 1
        self._done[f"answered {answer.status}"] += 1
        if answer.status == PENDING:
            intent.promised = True
            seen = gateway.delivered[intent.command_id, gateway.producer.sent.get(call.correlation_id, -1)]
            missed = not at_once and began < seen < gateway.issued.gave_up[intent.command_id]
            holds(not missed, "a POST ran into its time-out although its outcome had come", intent, began, seen)
        elif answer.status != UNKNOWN:
            self._tell(intent, answer)

    def _tell(self, intent: Intent, answer: Answer) -> None:
        headers = dict(answer.headers)
        code = orjson.loads(answer.body)["code"] if answer.status >= 400 else None
        told = Told(answer.status, code, headers.get(b"etag"), b"idempotent-replayed" in headers)
        intent.told.append(told)

    def ask(self, intent: Intent) -> None:
        """`GET /commands/{id}` for one that was promised."""
        ready = [one for one in self._gateways if one.ready]
        if not ready:
            return
        gateway = self._rng.choice(ready)
        intent.waiting += 1
        gateway.spawn(self._ask(intent, gateway))

    async def _ask(self, intent: Intent, gateway: Gateway) -> None:
        try:
            answer = await command_status(gateway.call(self._new_id()), _caller(intent.user), intent.command_id)
            found = orjson.loads(answer.body)
        except Problem as problem:
            holds(problem.status == UNKNOWN, "a command that was answered with 202 is unknown", intent, problem.status)
            return
        finally:
            intent.waiting -= 1
        if found["status"] != "pending":
            kept = (found["status"], None if found["problem"] is None else found["problem"]["code"])
            excused = intent.command_id in self._watch.read_side.forgotten
            holds(excused or intent.kept in (None, kept), "a promised command had two outcomes", intent, kept)
            intent.kept = kept

    def look(self) -> str:
        """Somebody repeats what has no answer yet, or asks after a promise."""
        open_ = [one for one in self.book[-60:] if not one.settled]
        if not open_:
            return "nothing open"
        intent = self._rng.choice(open_)
        if intent.promised and self._rng.random() < 0.7:
            self.ask(intent)
            return f"asks after {intent.command_id}"
        self.post(intent)
        return f"repeats {intent.command_id}"

    def insist(self) -> bool:
        """One more round for all that is open and not under way; whether there was any."""
        open_ = [one for one in self.book if not one.settled]
        for intent in open_:
            if not intent.waiting:
                (self.ask if intent.promised else self.post)(intent)
        return bool(open_)

    def check(self) -> None:
        """Everybody was told what the log says: one answer per command id, whoever asked, however often."""
        unreplayed: Counter[str] = Counter()
        first = self._first_records()
        for intent in self.book:
            id_ = intent.command_id
            if id_ in self._watch.read_side.forgotten:
                continue
            holds(id_ in self._watch.outcomes, "an answered command has no outcome", intent)
            outcome = orjson.loads(self._watch.outcomes[id_])
            wanted = {"expected_version": None, **intent.fields}
            same = all(first[id_].get(name) == value for name, value in wanted.items())
            for told in intent.told:
                reused = told.code == Code.IDEMPOTENCY_KEY_REUSED
                holds(not (reused and same), "refused as reused although the payload is the same", intent, first[id_])
                holds(same or reused, "another payload was taken for the same", intent, first[id_])
                unreplayed[id_] += not told.replayed and not reused
                if not reused:
                    holds(told.code == outcome["code"], "an answer is not the outcome", intent, told, outcome)
                    if told.code is None:
                        holds(
                            told.etag == b'"%d"' % outcome["version"], "another version was answered", intent, outcome
                        )
            if intent.kept is not None:
                kept = (outcome["status"], outcome["code"])
                holds(intent.kept == kept, "a promise was kept otherwise than it was decided", intent, outcome)
        twice = {id_: count for id_, count in unreplayed.items() if count > 1}
        holds(not twice, "two answers of one command, and neither is called a replay", twice)

    def _first_records(self) -> dict[str, dict[str, Any]]:
        wanted = {one.command_id for one in self.book}
        found: dict[str, dict[str, Any]] = {}
        for partition in {partition_of(one.target) for one in self.book}:
            for row in self._broker.rows(topics.COMMANDS, partition):
                id_ = next((value.decode() for name, value in row.headers if name == "ce_id"), None)
                if id_ in wanted and id_ not in found:
                    found[id_] = orjson.loads(row.value or b"{}")
        return found

    def _new_id(self) -> str:
        return f"{self._rng.getrandbits(64):016x}"


def _caller(name: str) -> Caller:
    user = _USERS.get(name)
    if user is None:
        user = _USERS[name] = User(id=name, version=1, **user_body(name))
    return Caller(user, frozenset(user.roles), "session")


_USERS: dict[str, User] = {}
