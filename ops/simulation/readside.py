"""A simple projector: takes the audit stream record by record, drops repeats, and stops at a gap."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from ops.simulation.failure import holds
from ops.simulation.ledger import Ledger
from schemas.audit import GENESIS, chain_hash, commitments, content_hash

#: Refusals of one record that are remembered (`streams.md`, promise 2).
REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Effect:
    """Where a command is on record; `refusal` numbers the refusals of its chain, 0 for an accepted one."""

    entity: str
    seq: int
    refusal: int


class ReadSide:
    """`chains`: per entity its records' bytes in order; `requests`: the request as the stream tells it; `events` per request,
    with their personal parts; `views`: the newest document that a reader sees; `made`: per command id its one record."""

    def __init__(self) -> None:
        self.chains: dict[str, list[bytes]] = {}
        self.heads: dict[str, str] = {}
        self.requests: dict[str, Ledger] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.views: dict[str, list[dict[str, Any]]] = {}
        #: Per request, the audit `seq` of each of its events.
        self.seqs: dict[str, list[int]] = {}
        self.refused: dict[str, int] = {}
        self.made: dict[str, Effect] = {}
        #: Refusals per entity, and the commands that were decided again because so many came after theirs.
        self.remembered: dict[str, int] = {}
        self.forgotten: set[str] = set()

    def copy(self) -> ReadSide:
        """For a run that goes on from here; only for a read side without requests."""
        made = ReadSide()
        made.chains = {entity: list(chain) for entity, chain in self.chains.items()}
        made.heads = dict(self.heads)
        made.made = dict(self.made)
        made.remembered = dict(self.remembered)
        return made

    def apply(self, value: bytes) -> dict[str, Any] | None:
        """Take over one record of `athena.audit`; None for a repeat."""
        record: dict[str, Any] = orjson.loads(value)
        entity, seq = record["entity"], record["seq"]
        chain = self.chains.setdefault(entity, [])
        if seq <= len(chain):
            holds(chain[seq - 1] == value, "an audit record was repeated with other bytes", chain[seq - 1], value)
            return None
        holds(seq == len(chain) + 1, "an audit chain has a gap", entity, seq, len(chain))
        holds(record["prev_hash"] == self.heads.get(entity, GENESIS), "an audit chain does not link", record)
        holds(record["hash"] == chain_hash(record), "an audit record has another hash", record)
        holds(record["commitments"] == commitments(record["salt"], record["personal"]), "wrong commitments", record)
        self.heads[entity] = record["hash"]
        chain.append(value)
        self._command(record)
        if record["event"] is not None:
            holds(record["content"] == content_hash(record["event"]), "wrong content hash", record)
        if entity.startswith("request:"):
            self._request(entity[8:], record)
        return record

    def _command(self, record: dict[str, Any]) -> None:
        entity, command_id = record["entity"], record["command_id"]
        if record["code"] == "idempotency-key-reused" or entity.startswith("session:"):
            return
        refused = record["outcome"] == "refused"
        self.remembered[entity] = self.remembered.get(entity, 0) + refused
        before = self.made.get(command_id)
        if before is not None:
            pushed_out = before.refusal > 0 and self.remembered[before.entity] - before.refusal >= REMEMBERED
            holds(pushed_out, "one command had two effects", command_id, before, entity, record["seq"])
            self.forgotten.add(command_id)
        self.made[command_id] = Effect(entity, record["seq"], self.remembered[entity] if refused else 0)

    def _request(self, request_id: str, record: dict[str, Any]) -> None:
        ledger = self.requests.setdefault(request_id, Ledger(request_id))
        holds(record["status_before"] == ledger.status, "status before a command", ledger.status, record)
        if record["outcome"] == "accepted":
            event = record["event"]
            ledger.accept(event)
            holds(
                record["request"]["version"] == record["version"] == ledger.version, "version of the document", record
            )
            personal = {name: text for name, text in record["personal"].items() if name != "source_address"}
            self.events.setdefault(request_id, []).append(event | personal)
            self.seqs.setdefault(request_id, []).append(record["seq"])
            self.views.setdefault(request_id, []).append(record["request"])
        else:
            self.refused[request_id] = self.refused.get(request_id, 0) + 1
            ledger.refuse(record["action"], record["code"], record["actor_id"], _ms(record["at"]))
        holds(record["status_after"] == ledger.status, "status after a command", ledger.status, record)


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
