"""The shard that chains security events from gateways into the audit stream: sign-ins, refusals at the door."""

from __future__ import annotations

import traceback
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from agents.dead_letters import dead_letter
from agents.ports import Effects, Incoming, Output, Store
from schemas import topics
from schemas.audit import GENESIS, canonical, commitments, sha256_hex
from schemas.base import SCHEMA_VERSION, rfc3339
from schemas.envelope import derived_id, headers
from schemas.security import SecurityEvent

SESSIONS = "sessions"
CACHED_CHAINS = 2000


@dataclass(slots=True)
class Chain:
    """Head of one audit chain; `kept` are rendered audit records (offset, JSON) whose offset may not be committed yet."""

    entity: str
    seq: int = 0
    head: str = GENESIS
    offset: int = -1
    at: int = 0
    kept: list[tuple[int, str]] = field(default_factory=list)

    def encode(self) -> bytes:
        return orjson.dumps([self.entity, self.seq, self.head, self.offset, self.at, self.kept])

    @classmethod
    def decode(cls, data: bytes) -> Chain:
        entity, seq, head, offset, at, kept = orjson.loads(data)
        return cls(entity, seq, head, offset, at, [(one, text) for one, text in kept])


class SecurityShard:
    """Chains the events of one partition of `athena.security`, one chain per account: `session:<user id>`."""

    def __init__(self, partition: int, store: Store, committed: Callable[[], int]) -> None:
        self._partition = partition
        self._store = store
        self._committed = committed
        self._cache: OrderedDict[str, Chain] = OrderedDict()

    def handle(self, record: Incoming, effects: Effects) -> None:
        """Chain one event; what is none becomes a dead letter."""
        try:
            event = SecurityEvent.model_validate_json(record.value or b"")
        except ValueError as error:
            effects.outputs.append(dead_letter(record, str(error), None))
            return
        chain = self._chain(f"session:{event.user_id}", effects)
        if record.offset <= chain.offset:
            effects.outputs += [
                _output(event.user_id, chain.entity, text) for offset, text in chain.kept if offset == record.offset
            ]
            return
        committed = self._committed()
        chain.kept = [one for one in chain.kept if one[0] >= committed]
        try:
            text = self._link(chain, event, max(record.timestamp, chain.at))
        except Exception as error:
            # A bug must not stop the log of sign-ins; `_link` changes the chain in its last lines only.
            effects.outputs.append(dead_letter(record, str(error), traceback.format_exc(limit=20)))
            return
        chain.offset = record.offset
        chain.kept.append((record.offset, text))
        effects.write(SESSIONS, chain.entity.encode(), chain.encode())
        effects.outputs.append(_output(event.user_id, chain.entity, text))

    def _link(self, chain: Chain, event: SecurityEvent, at: int) -> str:
        personal = {} if event.source_address is None else {"source_address": event.source_address}
        chained = {
            "schema_version": SCHEMA_VERSION,
            "entity": chain.entity,
            "seq": chain.seq + 1,
            "request_id": None,
            "version": None,
            "command_id": event.event_id,
            "actor_id": event.user_id,
            "actor_roles": list(event.roles),
            "action": event.action,
            "level": None,
            "at": rfc3339(at),
            "outcome": event.outcome,
            "code": event.code,
            "status_before": None,
            "status_after": None,
            "correlation_id": event.correlation_id,
            "content": None,
            "commitments": commitments(event.salt, personal),
            "prev_hash": chain.head,
        }
        hash_ = sha256_hex(canonical(chained))
        body = chained | {
            "hash": hash_,
            "event": None,
            "personal": personal,
            "salt": event.salt if personal else None,
            "request": None,
        }
        text = orjson.dumps(body).decode()
        chain.head, chain.seq, chain.at = hash_, chain.seq + 1, at
        return text

    def _chain(self, entity: str, effects: Effects) -> Chain:
        chain = self._cache.get(entity)
        if chain is None:
            key = entity.encode()
            data = effects.writes.get(SESSIONS, {}).get(key) or self._store.get(key)
            chain = self._cache[entity] = Chain(entity) if data is None else Chain.decode(data)
            while len(self._cache) > CACHED_CHAINS:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(entity)
        return chain


def _output(user_id: str, entity: str, text: str) -> Output:
    body = orjson.loads(text)
    found = headers(
        id_=derived_id(entity, body["seq"], "audit"),
        type_=f"athena.audit.{body['action']}",
        source="athena/worker",
        time=body["at"],
        subject=entity,
        correlation_id=body["correlation_id"],
    )
    return Output(topics.AUDIT, user_id.encode(), text.encode(), found)
