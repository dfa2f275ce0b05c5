"""Turns audit records into the columns of one SQL statement: parallel lists, one pass, nothing looked up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from agents.projector.concerns import Event, concern_of, deciders, event_of, waiting_on
from agents.projector.record import Poison, is_uuid, parse
from schemas.audit import canonical

#: Actions after which every vote that stood before still stands; after any other the rest is deleted.
_KEEPS_VOTES = frozenset(
    {"submit", "approve", "reject", "comment", "withdraw", "finalize", "close", "remind", "escalate"}
)
#: Actions that can put somebody new on a request.
_NAMES_APPROVERS = frozenset({"submit", "reassign", "escalate"})
_DECISIONS = {"approve": "approve", "reject": "reject"}
#: A command id that was used again with another content says nothing about the command that had it first.
_REUSED = "idempotency-key-reused"


@dataclass(slots=True)
class _Chain:
    """What the database must hold before this batch: a record of `need_seq` with the hash `need_hash` (0: none needed)."""

    first: int
    last: int
    last_hash: str
    need_seq: int
    need_hash: str


@dataclass(slots=True)
class _Request:
    """The newest document of a request in this batch; `need` is the version the database must have reached before, `approvers`
    whom it names and at which offset first."""

    need: int
    version: int
    document: dict[str, Any]
    votes_may_go: bool
    partition: int
    log_offset: int
    events: list[Event] = field(default_factory=list)
    approvers: dict[str, int] = field(default_factory=dict)
    votes: dict[tuple[str, str], tuple[str, str, int]] = field(default_factory=dict)


class Batch:
    """Records of one or several partitions, in the order of their offsets.

    `starts` and `nexts` are per partition the offset applied before and after the batch.
    """

    def __init__(self) -> None:
        self.starts: dict[int, int] = {}
        self.nexts: dict[int, int] = {}
        self.rows: list[tuple[Any, ...]] = []
        self._seen: dict[tuple[str, int], bytes] = {}
        self._chains: dict[str, _Chain] = {}
        self._requests: dict[str, _Request] = {}
        self._commands: dict[str, tuple[Any, ...]] = {}
        self._entities: dict[tuple[str, str], tuple[Any, ...]] = {}

    def extend(self, partition: int, start: int, records: Iterable[Any], next_offset: int) -> None:
        """Add one partition's records (aiokafka's); `start` is where reading began, `next_offset` where it goes on.

        Raises:
            Poison: a record that must not be skipped; what came before it is in the batch, and `nexts` ends at it.
        """
        self.starts[partition] = self.nexts[partition] = start
        for found in records:
            try:
                self._add(partition, found)
            except Poison as poison:
                poison.partition, poison.offset = partition, found.offset
                raise
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise Poison(f"no audit record: {error!r}", partition, found.offset) from error
            self.nexts[partition] = found.offset + 1
        self.nexts[partition] = next_offset

    def _add(self, partition: int, found: Any) -> None:
        record = parse(found.value, found.headers)
        if record is None:
            return
        entity, seq = record["entity"], record["seq"]
        again = self._seen.get((entity, seq))
        if again is not None:
            if again != found.value:
                raise Poison(f"{entity} seq {seq} is in the log twice, with different bytes")
            return
        self._chain(entity, seq, record)
        self._seen[(entity, seq)] = found.value
        request_id, version, outcome = record["request_id"], record["version"], record["outcome"]
        personal, event = record["personal"], record["event"]
        accepted = outcome == "accepted"
        document = record.get("request")
        is_event = accepted and version is not None and document is not None
        if is_event and document is not None:
            self._request(record, document, partition, found.offset)
        command_id = record["command_id"]
        if record["code"] != _REUSED and is_uuid(command_id) and not entity.startswith("session:"):
            self._command(command_id, record, request_id if is_uuid(request_id) else None)
        after = record.get("entity_after")
        if after is not None:
            self._entity(entity, seq, found.offset, after)
        self.rows.append(
            (
                entity,
                seq,
                record["schema_version"],
                request_id,
                version,
                command_id,
                record["actor_id"],
                _array(record["actor_roles"]),
                record["action"],
                record["level"],
                record["at"],
                outcome,
                record["code"],
                record["status_before"],
                record["status_after"],
                record["correlation_id"],
                record["content"],
                canonical(record["commitments"]).decode(),
                record["prev_hash"],
                record["hash"],
                None if event is None else canonical(event).decode(),
                partition,
                found.offset,
                record["salt"] if personal else None,
                orjson.dumps(personal).decode() if personal else None,
                personal.get("comment") if personal else None,
                is_event,
            )
        )

    def _chain(self, entity: str, seq: int, record: dict[str, Any]) -> None:
        chain = self._chains.get(entity)
        if chain is None:
            self._chains[entity] = _Chain(seq, seq, record["hash"], seq - 1, record["prev_hash"])
        elif seq == chain.last + 1:
            if record["prev_hash"] != chain.last_hash:
                raise Poison(f"{entity} seq {seq} does not follow seq {chain.last}: its prev_hash is another")
            chain.last, chain.last_hash = seq, record["hash"]
        elif seq > chain.last:
            # After a repeat of older ones: these must be applied already.
            chain.last, chain.last_hash, chain.need_seq, chain.need_hash = (
                seq,
                record["hash"],
                seq - 1,
                record["prev_hash"],
            )

    def _request(self, record: dict[str, Any], document: dict[str, Any], partition: int, offset: int) -> None:
        id_, version, action = record["request_id"], record["version"], record["action"]
        if document["id"] != id_ or document["version"] != version:
            raise Poison(
                f"request {id_} version {version} carries the document of {document['id']} version {document['version']}"
            )
        request = self._requests.get(id_)
        keeps = action in _KEEPS_VOTES
        if request is None:
            request = self._requests[id_] = _Request(version - 1, version, document, not keeps, partition, offset)
            request.events.append(event_of(record, document, offset, None))
        elif version > request.version:
            before: frozenset[str] | None = request.events[-1].waiting
            if version != request.version + 1:
                request.need, before = version - 1, None
            request.version, request.document = version, document
            request.partition, request.log_offset = partition, offset
            request.votes_may_go = request.votes_may_go or not keeps
            request.events.append(event_of(record, document, offset, before))
        if action in _NAMES_APPROVERS:
            for level in document["route"]["levels"]:
                for approver in deciders(level):
                    request.approvers.setdefault(approver, offset)
        decision = _DECISIONS.get(action)
        if decision is not None:
            # Whoever has voted has part, also where they were in no pool, and so has who voted for somebody else.
            actor = record["actor_id"]
            owner = (record["event"] or {}).get("on_behalf_of") or actor
            for person in (owner, actor):
                request.approvers.setdefault(person, offset)
            earlier = request.votes.get((record["level"], owner))
            if earlier is None or earlier[2] < version:
                request.votes[(record["level"], owner)] = (decision, record["at"], version)

    def _command(self, id_: str, record: dict[str, Any], request_id: str | None) -> None:
        row = (id_, record["actor_id"], request_id, record["outcome"], record["code"], record["version"])
        before = self._commands.get(id_)
        if before is None or (row[3], row[2] or "") < (before[3], before[2] or ""):
            self._commands[id_] = row

    def _entity(self, chain: str, seq: int, offset: int, after: dict[str, Any]) -> None:
        key = (after["kind"], after["id"])
        before = self._entities.get(key)
        if before is not None and before[1] > seq:
            return
        if after.get("removed"):
            self._entities[key] = (chain, seq, offset, *key, 0, None)
        else:
            self._entities[key] = (chain, seq, offset, *key, after["version"], orjson.dumps(after).decode())

    def columns(self) -> list[list[Any]]:
        """The statement's parameters, in its order: offsets, records, chains, requests, participants, votes, commands, entities,
        events, positions of requests, positions of participants."""
        offsets = [(partition, start, self.nexts[partition]) for partition, start in self.starts.items()]
        chains = [(name, c.need_seq, c.need_hash) for name, c in self._chains.items() if c.need_seq > 0]
        requests, participants, votes = [], [], []
        events, request_positions, participant_positions = [], [], []
        for id_, request in self._requests.items():
            document = request.document
            waiting, standing = waiting_on(document), _standing(document)
            created = document["created_at"]
            requests.append(
                (
                    id_,
                    request.need,
                    request.version,
                    document["status"],
                    document["requester_id"],
                    document["category_id"],
                    document["department_id"],
                    created,
                    document["updated_at"],
                    orjson.dumps(document).decode(),
                    ",".join(waiting),
                    ",".join(f"{level}:{approver}" for level, approver in standing) if request.votes_may_go else None,
                )
            )
            participants += [(id_, approver, created, approver in waiting) for approver in request.approvers]
            request_positions.append((request.partition, request.log_offset))
            participant_positions += [
                (request.partition, *concern_of(request.events, *named)) for named in request.approvers.items()
            ]
            newest = request.version
            events += [(id_, newest, request.partition, *one.columns()) for one in request.events]
            votes += [(id_, *key, *vote) for key, vote in request.votes.items() if standing.get(key) == vote[1]]
        return [
            *_transpose(offsets, 3),
            *_transpose(self.rows, 27),
            *_transpose(chains, 3),
            *_transpose(requests, 12),
            *_transpose(participants, 4),
            *_transpose(votes, 6),
            *_transpose(list(self._commands.values()), 6),
            *_transpose(list(self._entities.values()), 7),
            *_transpose(events, 9),
            *_transpose(request_positions, 2),
            *_transpose(participant_positions, 4),
        ]


def _transpose(rows: list[tuple[Any, ...]], width: int) -> list[Any]:
    return list(zip(*rows, strict=True)) if rows else [()] * width


def _array(items: list[str]) -> str:
    """A PostgreSQL array literal; roles are single words."""
    return "{" + ",".join(f'"{item}"' for item in items) + "}" if items else "{}"


def _standing(document: dict[str, Any]) -> dict[tuple[str, str], str]:
    """(level, approver) -> when, of every vote that stands."""
    return {
        (level["level"], vote["approver_id"]): vote["at"]
        for level in document["route"]["levels"]
        for vote in level["votes"]
    }
