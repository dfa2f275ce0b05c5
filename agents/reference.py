"""The shard that decides on reference data: `athena.reference-commands`, one partition, one writer."""

from __future__ import annotations

import traceback
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from agents.dead_letters import dead_letter, failed_outcome
from agents.ports import BatchFull, Busy, Effects, Incoming, Output, Store
from agents.reference_outputs import Link, Row, audit_row, outcome_row, output_of, packed, reference_row, unpacked
from agents.requests import payload_hash
from rules.decide_reference import Checking, ReferenceDecision, decide_reference, findings_of
from schemas import topics
from schemas.audit import GENESIS
from schemas.catalog import Catalog
from schemas.codes import Code
from schemas.commands import SYSTEM
from schemas.reference import ENTITIES, REFERENCE_COMMANDS, PutEntity, ReferenceCommand, Rules, entity_key

CATALOG = "catalog"
#: The audit chain of all versions of the rules file.
RULES_CHAIN = "rules"
#: Commands remembered per entity, with their outcomes.
REMEMBERED = 64
#: Entities whose records are held in memory; the catalog itself is always whole.
CACHED_ENTITIES = 256
#: Bytes of outputs that an entity's record keeps until they are in the log; those of one command more may follow.
MAX_KEPT = 500_000


@dataclass(slots=True)
class EntityRecord:
    """One entity in the worker's table: as it is, the head of its audit chain, and the last commands' outputs.

    `commands` maps command ids to (payload hash, outcome row as JSON); `kept` holds the outputs of commands whose outputs may
    not be in the log, as (offset, packed rows). A row is (topic, key, value, type, time, subject, correlation id, id).
    `version` is the last one the entity had, also after it was removed. All outputs of commands before offset `settled` were
    in the log when some were last dropped from `kept`.
    """

    entity: dict[str, Any] | None = None
    seq: int = 0
    head: str = GENESIS
    offset: int = -1
    at: int = 0
    commands: dict[str, tuple[str, str]] = field(default_factory=dict)
    kept: list[tuple[int, str]] = field(default_factory=list)
    version: int = 0
    settled: int = 0

    def copy(self) -> EntityRecord:
        """One that can be changed without changing this one."""
        return replace(self, commands=dict(self.commands), kept=list(self.kept))

    def encode(self) -> bytes:
        return orjson.dumps([getattr(self, name) for name in self.__slots__])

    @classmethod
    def decode(cls, data: bytes) -> EntityRecord:
        values = orjson.loads(data)
        record = cls(*values)
        if len(values) == _WITHOUT_VERSION:
            # Of a removed entity the first release did not keep the version; the length of its chain is not below it.
            record.version = record.seq if record.entity is None else record.entity["version"]
        return record

    def forget_settled(self, settled: int) -> None:
        """Drop the outputs of commands before offset `settled`: they are in the log."""
        if self.kept and self.kept[0][0] < settled:
            self.kept = [one for one in self.kept if one[0] >= settled]
        self.settled = max(self.settled, settled)


#: Values of a record as the first release wrote it.
_WITHOUT_VERSION = 7


class ReferenceShard:
    """Decides reference commands in order; its own catalog is built from its table, never from what it published.

    `settled` and `end` as in `agents.requests.RequestShard`; `checking` may raise `Busy`.
    """

    def __init__(self, store: Store, partitions: int, settled: int, end: int, checking: Checking = findings_of) -> None:
        self._checking = checking
        self._store = store
        self._partitions = partitions
        self._settled = min(settled, end)
        self._end = end
        self._records: OrderedDict[str, EntityRecord] = OrderedDict()
        self.catalog = Catalog()
        chain = store.get(RULES_CHAIN.encode())
        published = None if chain is None else EntityRecord.decode(chain).entity
        newest = 0 if published is None else int(published["version"])
        for _, value in store.scan():
            found = EntityRecord.decode(value).entity
            entity = None if found is None else ENTITIES.validate_python(found)
            # A version that the chain's record does not know of was cut off half-written: its command comes again.
            if entity is not None and not (isinstance(entity, Rules) and entity.version > newest):
                self.catalog.put(entity)

    def handle(self, record: Incoming, effects: Effects) -> None:
        """Decide one command; what is none becomes a dead letter."""
        try:
            command = REFERENCE_COMMANDS.validate_json(record.value or b"")
        except ValueError as error:
            self._dead(record, effects, error)
            return
        try:
            self._decide(command, record, effects)
        except (BatchFull, Busy):
            raise
        except Exception as error:
            # A bug in deciding must not stop the administration; `_apply` keeps nothing before its last lines.
            self._dead(record, effects, error, traceback.format_exc(limit=20))

    def decided(self, record: Incoming, effects: Effects) -> bool:
        """See `agents.ports.Shard`."""
        try:
            command = REFERENCE_COMMANDS.validate_json(record.value or b"")
        except ValueError:
            return False
        chain = self._chain_of(command)
        return self._again(chain, self._record(chain, effects), command, record) is not None

    def settled(self, offset: int) -> None:
        """See `agents.ports.Shard`."""
        self._settled = max(self._settled, offset)

    @staticmethod
    def _dead(record: Incoming, effects: Effects, error: Exception, trace: str | None = None) -> None:
        effects.outputs.append(dead_letter(record, str(error) or repr(error), trace))
        if (failed := failed_outcome(record, record.partition)) is not None:
            effects.outputs.append(failed)

    def _decide(self, command: ReferenceCommand, record: Incoming, effects: Effects) -> None:
        chain = self._chain_of(command)
        found = self._record(chain, effects)
        again = self._again(chain, found, command, record)
        if again is not None:
            effects.outputs += again
            return
        if record.offset <= found.offset and record.offset < self._end:
            raise RuntimeError("this command was not applied when later ones of its entity were: a bug stopped it then")
        at = max(record.timestamp, found.at)
        decision = decide_reference(command, self.catalog, at, found.version, self._checking)
        if command.command_id in found.commands:
            decision = ReferenceDecision(
                decision.kind, decision.id, decision.action, refusal=Code.IDEMPOTENCY_KEY_REUSED
            )
        self._apply(chain, found.copy(), command, decision, record, at, effects)

    def _again(
        self, chain: str, found: EntityRecord, command: ReferenceCommand, record: Incoming
    ) -> list[Output] | None:
        """What a record that was decided before gives now; None for one that was not."""
        for offset, kept in found.kept if record.offset <= found.offset and record.offset < self._end else ():
            if offset == record.offset:
                # A newer version is in the log already and comes again after this one: the older must not show in between.
                older = record.offset < found.offset and chain != RULES_CHAIN
                rows = [row for row in unpacked(kept) if not (older and row[0] == topics.REFERENCE)]
                return [output_of(row, offset, self._partitions) for row in rows]
        known = found.commands.get(command.command_id)
        if known is not None and known[0] == payload_hash(command):  # type: ignore[arg-type]
            return [output_of(orjson.loads(known[1]), record.offset, self._partitions)]
        return [] if record.offset < max(self._settled, min(found.settled, self._end)) else None

    @staticmethod
    def _chain_of(command: ReferenceCommand) -> str:
        """The audit chain and table key: the entity; all versions of the rules file share one."""
        if isinstance(command, PutEntity):
            return RULES_CHAIN if command.body.kind == "rules" else entity_key(command.body.kind, command.entity_id)
        return entity_key(command.kind, command.entity_id)

    def _apply(
        self,
        chain: str,
        found: EntityRecord,
        command: ReferenceCommand,
        decision: ReferenceDecision,
        source: Incoming,
        at: int,
        effects: Effects,
    ) -> None:
        accepted = decision.refusal is None
        before = found.entity
        rows: list[Row] = []
        document = None if decision.after is None else decision.after.model_dump(mode="json")
        if accepted:
            found.entity = document
            found.version = found.version if document is None else document["version"]
        found.seq += 1
        found.offset, found.at = source.offset, at
        link = Link(chain, found.seq, found.head, at, self._roles(command.actor_id))
        audit, found.head = audit_row(link, command, decision, before, document)
        if accepted:
            rows.append(reference_row(link, command, decision, document))
        rows.append(audit)
        outcome = outcome_row(command, decision, document, source, at)
        rows.append(outcome)
        if decision.refusal is not Code.IDEMPOTENCY_KEY_REUSED:
            hash_ = payload_hash(command)  # type: ignore[arg-type]
            found.commands[command.command_id] = (hash_, orjson.dumps(outcome).decode())
            while len(found.commands) > REMEMBERED:
                del found.commands[next(iter(found.commands))]
        found.forget_settled(self._settled)
        kept = packed(rows)
        if sum(len(one) for _, one in found.kept) + len(kept) > MAX_KEPT and (effects.writes or effects.outputs):
            raise BatchFull
        found.kept.append((source.offset, kept))
        outputs = [output_of(row, source.offset, self._partitions) for row in rows]
        if accepted:
            self._take_over(decision)
        self._remember(chain, found)
        if chain == RULES_CHAIN and accepted:
            # Every version stays in the table under its own key, written before the chain's record that says it was applied.
            version = EntityRecord(entity=document, offset=source.offset, version=found.version)
            effects.write(CATALOG, entity_key("rules", decision.id).encode(), version)
        effects.write(CATALOG, chain.encode(), found)
        effects.outputs += outputs

    def _record(self, chain: str, effects: Effects) -> EntityRecord:
        found = self._records.get(chain)
        if found is None:
            # What this batch wrote and the cache has let go of is not in the store yet.
            found = effects.written(CATALOG, chain.encode())
        if found is None:
            data = self._store.get(chain.encode())
            found = EntityRecord() if data is None else EntityRecord.decode(data)
        self._remember(chain, found)
        return found

    def _remember(self, chain: str, record: EntityRecord) -> None:
        self._records[chain] = record
        self._records.move_to_end(chain)
        while len(self._records) > CACHED_ENTITIES:
            self._records.popitem(last=False)

    def _take_over(self, decision: ReferenceDecision) -> None:
        if decision.after is None:
            self.catalog.apply(entity_key(decision.kind, decision.id).encode(), None)
        else:
            self.catalog.put(decision.after)

    def _roles(self, actor_id: str) -> list[str]:
        if actor_id == SYSTEM:
            return ["system"]
        actor = self.catalog.users.get(actor_id)
        return [] if actor is None else list(actor.roles)
