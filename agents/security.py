"""The shard that chains security events from gateways into the audit stream: sign-ins, refusals at the door."""

from __future__ import annotations

import struct
import traceback
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from agents.dead_letters import dead_letter
from agents.ports import Effects, Incoming, Output, Store
from schemas import topics
from schemas.audit import GENESIS, canonical, commitments, sha256_hex
from schemas.base import SCHEMA_VERSION, rfc3339
from schemas.envelope import derived_id, headers
from schemas.security import SecurityEvent
from tables.emission import uuid_bytes

SESSIONS = "sessions"
CACHED_CHAINS = 2000
#: Events whose ids are remembered per chain: one that a gateway sends again is chained once.
REMEMBERED_EVENTS = 64
FORMAT = 2
#: Format, seq, offset, time in ms, settled, number of ids, number of links, hash of the head.
_FIXED = struct.Struct(">BQqQqHH32s")
#: Offset, seq, time in ms, hash before.
_LINK = struct.Struct(">qQQ32s")


@dataclass(frozen=True, slots=True)
class Link:
    """What the audit record of one event follows from, besides the event; `seq` 0: it was a repeat and has none. `at` in ms."""

    offset: int
    seq: int
    at: int
    prev_hash: str


@dataclass(slots=True)
class Chain:
    """Head of one audit chain. `seen` are the ids of the last events, `kept` the links whose audit records may not be in the
    log yet, by offset; when links were last dropped, those before offset `settled` were. A chain comes to 40 kB at most: 64
    ids, and one link for each record of a batch.

    Bytes (format 2): `_FIXED`, the ids, the links, the entity. The first release wrote a JSON list, with rendered records.
    """

    entity: str
    seq: int = 0
    head: str = GENESIS
    offset: int = -1
    at: int = 0
    settled: int = 0
    seen: dict[bytes, None] = field(default_factory=dict)
    kept: dict[int, Link] = field(default_factory=dict)

    def encode(self) -> bytes:
        fixed = _FIXED.pack(
            FORMAT, self.seq, self.offset, self.at, self.settled, len(self.seen), len(self.kept), bytes.fromhex(self.head)
        )  # fmt: skip
        links = (_LINK.pack(one.offset, one.seq, one.at, bytes.fromhex(one.prev_hash)) for one in self.kept.values())
        return b"".join((fixed, *self.seen, *links, self.entity.encode()))

    @classmethod
    def decode(cls, data: bytes) -> Chain:
        """The chain from its bytes. Raises ValueError for a format that this program does not know."""
        if data[:1] == b"[":
            entity, seq, head, offset, at, rendered = orjson.loads(data)
            links = [_link_of(place, orjson.loads(text)) for place, text in rendered]
            return cls(entity, seq, head, offset, at, kept={one.offset: one for one in links})
        if data[:1] != bytes((FORMAT,)):
            raise ValueError(f"session chain has format {data[:1]!r}, expected {FORMAT}; a newer program wrote it")
        _, seq, offset, at, settled, ids, count, head_raw = _FIXED.unpack_from(data)
        first = _FIXED.size
        second = first + ids * 16
        third = second + count * _LINK.size
        links = [Link(place, at_seq, ms, raw.hex()) for place, at_seq, ms, raw in _LINK.iter_unpack(data[second:third])]
        return cls(
            entity=data[third:].decode(),
            seq=seq,
            head=head_raw.hex(),
            offset=offset,
            at=at,
            settled=settled,
            seen=dict.fromkeys(data[place : place + 16] for place in range(first, second, 16)),
            kept={one.offset: one for one in links},
        )

    def add(self, event_id: bytes, link: Link, head: str) -> None:
        """Take over one event; `head` is the hash of its audit record."""
        self.offset, self.seq, self.head, self.at = link.offset, link.seq, head, link.at
        self.kept[link.offset] = link
        self.seen[event_id] = None
        while len(self.seen) > REMEMBERED_EVENTS:
            del self.seen[next(iter(self.seen))]

    def add_repeat(self, offset: int) -> None:
        """Remember that the event at `offset` was one seen before, so that its redelivery is not taken for anything else."""
        self.offset = offset
        self.kept[offset] = Link(offset, 0, 0, GENESIS)

    def forget_settled(self, settled: int) -> None:
        """Drop the links before offset `settled`: their audit records are in the log."""
        if self.kept and next(iter(self.kept)) < settled:
            self.kept = {offset: one for offset, one in self.kept.items() if offset >= settled}
        self.settled = max(self.settled, settled)


class SecurityShard:
    """Chains the events of one partition of `athena.security`, one chain per account: `session:<user id>`.

    `settled`, `end` and `owns` (of a user id) as in `agents.requests.RequestShard`.
    """

    def __init__(
        self, partition: int, store: Store, settled: int, end: int, owns: Callable[[str], bool] = lambda user_id: True
    ) -> None:
        self._partition = partition
        self._store = store
        self._settled = min(settled, end)
        self._end = end
        self._owns = owns
        self._cache: OrderedDict[str, Chain] = OrderedDict()

    def handle(self, record: Incoming, effects: Effects) -> None:
        """Chain one event; what is none becomes a dead letter."""
        try:
            event = SecurityEvent.model_validate_json(record.value or b"")
        except ValueError as error:
            effects.outputs.append(dead_letter(record, str(error), None))
            return
        chain = self._chain(f"session:{event.user_id}", effects)
        if chain.seq == 0 and not self._owns(event.user_id):
            elsewhere = f"user {event.user_id} belongs to another partition; send it with Kafka's default partitioner"
            effects.outputs.append(dead_letter(record, elsewhere, None))
            return
        try:
            self._take(chain, event, record, effects)
        except Exception as error:
            # A bug must not stop the log of sign-ins; nothing was changed yet.
            effects.outputs.append(dead_letter(record, str(error), traceback.format_exc(limit=20)))

    def decided(self, record: Incoming, effects: Effects) -> bool:
        """See `agents.ports.Shard`."""
        try:
            event = SecurityEvent.model_validate_json(record.value or b"")
        except ValueError:
            return False
        if record.offset < self._settled:
            return True
        chain = self._chain(f"session:{event.user_id}", effects)
        earlier = record.offset < self._end and (record.offset in chain.kept or record.offset < chain.settled)
        return earlier or uuid_bytes(event.event_id) in chain.seen

    def settled(self, offset: int) -> None:
        """See `agents.ports.Shard`."""
        self._settled = max(self._settled, offset)

    def _take(self, chain: Chain, event: SecurityEvent, record: Incoming, effects: Effects) -> None:
        if record.offset <= chain.offset and record.offset < self._end:
            link = chain.kept.get(record.offset)
            if link is not None:
                effects.outputs += [_rendered(chain.entity, event, link)[0]] if link.seq else []
            elif record.offset >= max(self._settled, chain.settled):
                raise RuntimeError(
                    "this event was not chained when later ones of its account were: a bug stopped it then"
                )
            return
        if record.offset < self._settled:
            return
        event_id = uuid_bytes(event.event_id)
        if event_id in chain.seen:
            chain.forget_settled(self._settled)
            chain.add_repeat(record.offset)
        else:
            link = Link(record.offset, chain.seq + 1, max(record.timestamp, chain.at), chain.head)
            output, hash_ = _rendered(chain.entity, event, link)
            chain.forget_settled(self._settled)
            chain.add(event_id, link, hash_)
            effects.outputs.append(output)
        effects.write(SESSIONS, chain.entity.encode(), chain)

    def _chain(self, entity: str, effects: Effects) -> Chain:
        chain = self._cache.get(entity)
        if chain is None:
            key = entity.encode()
            chain = effects.written(SESSIONS, key)
            if chain is None:
                data = self._store.get(key)
                chain = Chain(entity) if data is None else Chain.decode(data)
            self._cache[entity] = chain
            while len(self._cache) > CACHED_CHAINS:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(entity)
        return chain


def _rendered(entity: str, event: SecurityEvent, link: Link) -> tuple[Output, str]:
    """The audit record of an event, and its hash."""
    personal = {} if event.source_address is None else {"source_address": event.source_address}
    at = rfc3339(link.at)
    chained = {
        "schema_version": SCHEMA_VERSION,
        "entity": entity,
        "seq": link.seq,
        "request_id": None,
        "version": None,
        "command_id": event.event_id,
        "actor_id": event.user_id,
        "actor_roles": list(event.roles),
        "action": event.action,
        "level": None,
        "at": at,
        "outcome": event.outcome,
        "code": event.code,
        "status_before": None,
        "status_after": None,
        "correlation_id": event.correlation_id,
        "content": None,
        "commitments": commitments(event.salt, personal),
        "prev_hash": link.prev_hash,
    }
    hash_ = sha256_hex(canonical(chained))
    body = chained | {
        "hash": hash_,
        "event": None,
        "personal": personal,
        "salt": event.salt if personal else None,
        "request": None,
    }
    found = headers(
        id_=derived_id(entity, link.seq, "audit"),
        type_=f"athena.audit.{event.action}",
        source="athena/worker",
        time=at,
        subject=entity,
        correlation_id=event.correlation_id,
    )
    return Output(topics.AUDIT, event.user_id.encode(), orjson.dumps(body), found), hash_


def _link_of(offset: int, body: dict[str, Any]) -> Link:
    """From an audit record as the first release kept it."""
    at = round(datetime.fromisoformat(body["at"]).timestamp() * 1000)
    return Link(offset, body["seq"], at, body["prev_hash"])
