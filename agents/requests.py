"""The shard that decides on requests: one partition of `athena.commands`, its records in memory and table."""

from __future__ import annotations

import hashlib
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import NamedTuple

import orjson

from agents.dead_letters import dead_letter, failed_outcome
from agents.emissions import emission_of, refusal_of
from agents.outputs import render
from agents.ports import BatchFull, Effects, Incoming, NotYet, Output, Store
from agents.repeats import known_hash, links_before, repeat
from rules.decide import Decision, decide
from rules.leavers import levels_left
from rules.submit import ActiveRules
from schemas.base import plain
from schemas.catalog import Catalog
from schemas.codes import Code
from schemas.commands import COMMANDS, NOT_PAYLOAD, TIMED, CommandBase, Escalate
from schemas.deadlines import Due
from schemas.events import Commented, Escalated, Reassigned, RolledBack, Submitted
from tables.record import ESCALATES_BELOW, Addition, Emission, Record
from tables.windows import window_key, window_value

REQUESTS = "requests"
WINDOWS = "windows"
CHAINS = "chains"
#: Decoded records kept per partition (about 10 kB each).
CACHED_RECORDS = 2000
#: Bytes that keep a record below 1 MiB (a message of Kafka takes 4 MiB here). All events of a request, when a `Comment` is
#: added, or anything else that carries text or a pool; 1,000 events without either, which always find room, come to 150 kB.
MAX_WITH_COMMENTS = 300_000
MAX_WITH_TEXTS = 450_000
#: What a record keeps of commands whose outputs are not in the log yet; one command more (20 kB) may follow it. A full record
#: ends its batch: the outputs go out, and there is room again. With 64 refusals the record comes to 840 kB at most.
MAX_UNSETTLED = 200_000


class DecisionContext(NamedTuple):
    """`rules.decide.Context`, as the worker fills it in."""

    at: int
    catalog: Catalog
    rules: ActiveRules | None


class Applied(NamedTuple):
    """A command as decided and rendered: what is left to do cannot fail. `addition` is None for a refusal; `size` in bytes."""

    target: Record
    emission: Emission
    size: int
    outputs: list[Output]
    head: str
    hash: str
    addition: Addition | None
    remembered: bool
    before: Due | None


def payload_hash(command: CommandBase) -> str:
    """Identifies what a command asks for, by whom: 128 bits of SHA-256, hex. A retry's other parts may differ."""
    body = {name: value for name, value in vars(command).items() if name not in NOT_PAYLOAD}
    return hashlib.sha256(orjson.dumps(body, plain, orjson.OPT_SORT_KEYS)).hexdigest()[:32]


class RequestShard:
    """Decides the commands of one partition. Not for concurrent use; `stores` are this partition's.

    `settled`: the outputs of all commands before this offset are in the log, at least; the group's committed offset will do.
    `end`: where the partition ends as the shard opens. Only what lies before it can have been decided earlier: offsets that are
    given anew after the log lost its tail are new commands.
    `owns`: whether a request id belongs to this partition. Elsewhere it would get a second chain under the same name.
    """

    def __init__(
        self,
        partition: int,
        stores: Mapping[str, Store],
        catalog: Catalog,
        rules: Callable[[], ActiveRules | None],
        settled: int,
        end: int,
        impossible: Callable[[int], bool],
        observe: Callable[[str, str], None] = lambda kind, result: None,
        owns: Callable[[str], bool] = lambda request_id: True,
    ) -> None:
        self._partition = partition
        self._stores = stores
        self._catalog = catalog
        self._rules = rules
        self._settled = min(settled, end)
        self._end = end
        self._impossible = impossible
        self._observe = observe
        self._owns = owns
        self._cache: OrderedDict[str, Record] = OrderedDict()
        self._chain: Record | None = None
        #: The offset after the newest command that changed something, and how often a rollback reopened a request of which
        #: somebody had left.
        self.changed = 0
        self.reopened = 0

    def handle(self, record: Incoming, effects: Effects) -> None:
        """Decide one command; whatever is wrong with the record itself becomes a dead letter."""
        try:
            command = parse(record)
        except ValueError as error:
            self._dead(record, effects, error)
            return
        if command.reference_offset > self._catalog.offset:
            if self._impossible(command.reference_offset):
                beyond = f"reference_offset {command.reference_offset} lies beyond the end of athena.reference"
                self._dead(record, effects, ValueError(beyond))
                return
            raise NotYet(command.reference_offset)
        # Outside the `try`: a table that cannot be read ends the process, it is no fault of the command.
        found = self._record(command.request_id, effects)
        if found is None and not self._owns(command.request_id):
            elsewhere = (
                f"request {command.request_id} belongs to another partition; send it with Kafka's default partitioner"
            )
            self._dead(record, effects, ValueError(elsewhere))
            return
        chain = self._partition_chain()
        try:
            applied = self._apply(command, record, found, chain, effects)
        except BatchFull:
            raise
        except Exception as error:
            # A bug in deciding must not stop the partition; nothing was changed yet.
            self._dead(record, effects, error, traceback.format_exc(limit=20))
            return
        if applied is not None:
            self._take_over(applied, effects)

    def decided(self, record: Incoming, effects: Effects) -> bool:
        """See `agents.ports.Shard`."""
        try:
            command = parse(record)
        except ValueError:
            return False
        found, chain = self._record(command.request_id, effects), self._partition_chain()
        repeated = self._repeated(command, payload_hash(command), record, found, chain, Effects())
        return repeated or self._answered(record, found, chain)

    def settled(self, offset: int) -> None:
        """See `agents.ports.Shard`."""
        self._settled = max(self._settled, offset)

    def wrote(self, offset: int) -> bool:
        """Whether all changes by commands before `offset` are in the tables."""
        return self._settled >= offset

    def _dead(self, record: Incoming, effects: Effects, error: Exception, trace: str | None = None) -> None:
        effects.outputs.append(dead_letter(record, str(error) or repr(error), trace))
        if (failed := failed_outcome(record, self._partition)) is not None:
            effects.outputs.append(failed)
        self._observe("unreadable" if trace is None else "bug", "dead-letter")

    def _apply(
        self, command: CommandBase, source: Incoming, found: Record | None, chain: Record, effects: Effects
    ) -> Applied | None:
        hash_ = payload_hash(command)
        if self._repeated(command, hash_, source, found, chain, effects):
            self._observe(type(command).__name__, "repeated")
            return None
        if self._answered(source, found, chain):
            self._observe(type(command).__name__, "skipped")
            return None
        if found is not None and source.offset <= found.offset and source.offset < self._end:
            if isinstance(command, TIMED):
                return None
            raise RuntimeError(
                "this command was not applied when later ones of its request were: a bug stopped it then"
            )
        at = source.timestamp if found is None or found.state is None else max(source.timestamp, found.state.updated_at)
        context = DecisionContext(at, self._catalog, self._rules())
        # Neither is a repeat: whoever knows the id knows it with another payload.
        id_ = command.command_id
        reused = known_hash(chain, id_) is not None or (found is not None and known_hash(found, id_) is not None)
        decision = (
            Decision(refusal=Code.IDEMPOTENCY_KEY_REUSED)
            if reused
            else decide(None if found is None else found.state, command, context)
        )
        full = found is not None and found.size >= ESCALATES_BELOW and isinstance(command, Escalate)
        if full or (decision.event is None and decision.refusal is None):
            self._observe(type(command).__name__, "ignored")
            return None
        target = found if found is not None else chain
        if isinstance(decision.event, Submitted):
            target = Record(entity=f"request:{command.request_id}", request_id=command.request_id)
        addition = None if decision.event is None else target.prepare(decision.event, source.offset)
        if addition is not None and _no_room(target, addition):
            addition, decision = None, Decision(refusal=Code.TOO_MANY_EVENTS)
            target = found if found is not None else chain
        after = target.state if addition is None else addition.after
        emission = emission_of(target, command, source, decision, at, self._catalog, after)
        target.forget_settled(self._settled)
        size = emission.size
        if target.unsettled + size > MAX_UNSETTLED and (effects.writes or effects.outputs):
            raise BatchFull
        state, event = target.state, decision.event
        outputs, head = render(target.entity, emission, event, state, after, self._partition)
        outputs = links_before(target, emission, self._partition) + outputs
        self._observe(type(command).__name__, _result(decision))
        return Applied(target, emission, size, outputs, head, hash_, addition, not reused, target.due)

    def _repeated(
        self, command: CommandBase, hash_: str, source: Incoming, found: Record | None, chain: Record, effects: Effects
    ) -> bool:
        if found is not None and self._repeat(found, command, hash_, source, effects):
            return True
        return self._repeat(chain, command, hash_, source, effects)

    def _answered(self, source: Incoming, found: Record | None, chain: Record) -> bool:
        """Whether the outputs of a command whose id is not known (any more) are in the log."""
        stored = max(chain.settled, 0 if found is None else found.settled)
        return source.offset < self._settled or source.offset < min(stored, self._end)

    def _take_over(self, done: Applied, effects: Effects) -> None:
        """Change the record, in memory and in the batch. Nothing here looks into the command, so nothing here fails by it."""
        target, emission = done.target, done.emission
        self.changed = emission.offset + 1
        if done.addition is not None:
            target.add_event(done.addition, done.hash, emission.offset)
            # Every other event leaves a pool that was whole when it was decided, or was looked at since.
            if isinstance(done.addition.event, RolledBack) and levels_left(done.addition.after, self._catalog):
                self.reopened += 1
        elif done.remembered:
            target.add_refusal(refusal_of(emission, done.hash))
        target.add_emission(emission, done.size, done.head)
        effects.outputs += done.outputs
        if target is self._chain:
            effects.write(CHAINS, target.entity.encode(), target)
            return
        self._remember(target)
        effects.write(REQUESTS, target.request_id.encode(), target)
        self._move_window(target, done.before, effects)

    def _repeat(self, known: Record, command: CommandBase, hash_: str, source: Incoming, effects: Effects) -> bool:
        """Give the outputs of a command that was applied before again; True if this was one."""
        found = repeat(known, command, hash_, source, self._partition)
        effects.outputs += found or ()
        return found is not None

    def _move_window(self, record: Record, before: Due | None, effects: Effects) -> None:
        after = record.due
        if before == after:
            return
        if before is not None:
            effects.write(WINDOWS, window_key(before.at, record.request_id), None)
        if after is not None:
            effects.write(WINDOWS, window_key(after.at, record.request_id), window_value(after))

    def _record(self, request_id: str, effects: Effects) -> Record | None:
        cached = self._cache.get(request_id)
        if cached is not None:
            self._cache.move_to_end(request_id)
            return cached
        key = request_id.encode()
        # What this batch wrote and the cache has let go of is not in the store yet.
        record: Record | None = effects.written(REQUESTS, key)
        if record is None:
            data = self._stores[REQUESTS].get(key)
            if data is None:
                return None
            record = Record.decode(data)
        self._remember(record)
        return record

    def _remember(self, record: Record) -> None:
        self._cache[record.request_id] = record
        self._cache.move_to_end(record.request_id)
        while len(self._cache) > CACHED_RECORDS:
            self._cache.popitem(last=False)

    def _partition_chain(self) -> Record:
        if self._chain is None:
            entity = f"partition:{self._partition}"
            data = self._stores[CHAINS].get(entity.encode())
            self._chain = Record(entity=entity, request_id="") if data is None else Record.decode(data)
        return self._chain


def parse(record: Incoming) -> CommandBase:
    """The command in a record. Raises ValueError (pydantic's included) for anything that is none."""
    if record.value is None:
        raise ValueError("the record has no value; a command is a JSON object")
    command = COMMANDS.validate_json(record.value)
    if record.key != command.request_id.encode():
        raise ValueError(f"the key is {record.key!r}; it must be the request id {command.request_id}")
    return command


def _no_room(record: Record, addition: Addition) -> bool:
    """What carries neither text nor a pool always has room: a full request can still be decided and closed."""
    event = addition.event
    if not (isinstance(event, Submitted | Reassigned) or vars(event).get("comment")):
        return False
    return record.size + addition.size > (MAX_WITH_COMMENTS if isinstance(event, Commented) else MAX_WITH_TEXTS)


def _result(decision: Decision) -> str:
    """How a decision is counted: `unstaffed` is an event that needs an administrator, `nobody` an escalation to nobody."""
    if isinstance(decision.event, Reassigned) and decision.event.unstaffed:
        return "unstaffed"
    if isinstance(decision.event, Escalated) and not decision.event.approvers:
        return "nobody"
    return "accepted" if decision.event is not None else str(decision.refusal)
