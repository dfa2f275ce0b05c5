"""The one record per request in the worker's table, and its bytes.

What is stored is the request's events (their fold is the state), which commands made them, the last refusals, the head of the
audit chain, and what is needed to repeat the outputs of commands whose outputs may not be in the log yet. Outputs themselves
are not stored: they follow from this record.

Bytes (format 3): the header, one byte of format and eight bytes big endian that say what time does next to the request, which
lets the rebuild of the window index pass over a million records without decoding them: its place in `KINDS` in the first of
them, the time in ms in the others (all zero: nothing). Format 2 is the same, but knew `close` alone. Then `_FIXED`; the ids and
hashes of the commands that made events, of the refusals and of the emissions; then JSON, [event rows, refusal rows, emission
rows], and for a chain that is no request's the name of its entity.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from schemas.audit import GENESIS
from schemas.deadlines import KINDS, Due, Kind, next_due
from schemas.events import AnyEvent
from schemas.state import RequestState
from tables import event_rows, record_format_1
from tables.emission import COMMAND_RAW, EMISSION_RAW, Emission, Refusal, uuid_bytes, uuid_text
from tables.evolve import evolve, fold

__all__ = ["Addition", "Emission", "Record", "Refusal", "due_of", "due_version_of", "pending_of", "seq_of"]

FORMAT = 3
HEADER_BYTES = 9
#: Where the kind stands in the header's number.
_KIND_SHIFT = 56
#: A request whose events take more bytes is not escalated any more: there must be room for what people decide.
ESCALATES_BELOW = 300_000
#: Offset, settled, seq, numbers of events, refusals and emissions, head of the chain, request id.
_FIXED = struct.Struct(">qqIHHH32s16s")
_SEQ_AT = HEADER_BYTES + 16
#: Refusals whose command ids are remembered per record (`streams.md`, promise 2).
REMEMBERED_REFUSALS = 64
_REQUEST = "request:"


class Addition(NamedTuple):
    """An event about to be taken over: all that could fail about it is done. `row` is the JSON of its row."""

    event: AnyEvent
    row: bytes
    after: RequestState

    @property
    def size(self) -> int:
        """Bytes that it adds to a record."""
        return len(self.row) + 1


@dataclass(slots=True)
class Record:
    """`entity` names the audit chain. `rows` holds the JSON of each event's row, `commands` the `COMMAND_RAW` of the command that
    made it; `made` maps that command's id to (payload hash, version, offset). `offset` is that of the last command applied, -1
    for none. `settled`: when emissions were last dropped, the outputs of all commands of the partition before that offset were
    in the log. `due` is what time does next to the request. `size` counts the bytes of the events, `unsettled` those of the
    emissions.
    """

    entity: str
    request_id: str
    events: list[AnyEvent] = field(default_factory=list)
    rows: list[bytes] = field(default_factory=list)
    commands: list[bytes] = field(default_factory=list)
    made: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    refusals: dict[str, Refusal] = field(default_factory=dict)
    emissions: list[Emission] = field(default_factory=list)
    offset: int = -1
    settled: int = 0
    seq: int = 0
    head: str = GENESIS
    state: RequestState | None = None
    due: Due | None = None
    size: int = 0
    unsettled: int = 0
    _before: RequestState | None = None

    def prepare(self, event: AnyEvent, offset: int) -> Addition:
        """What `add_event` takes over; nothing is changed yet. Raises for an event that does not follow, or has no bytes."""
        last = self.events[-1] if self.events else None
        before = (0, 0) if last is None else (last.at, self.made[last.command_id][2])
        row = event_rows.packed(event, offset, before)
        return Addition(event, orjson.dumps(row), evolve(self.state, event, self.request_id))

    def add_event(self, addition: Addition, payload_hash: str, offset: int) -> None:
        """Take over an event, and remember the command that made it."""
        event = addition.event
        self._before, self.state = self.state, addition.after
        self.size += addition.size
        self.events.append(event)
        self.due = self._next_due(addition.after)
        self.rows.append(addition.row)
        self.commands.append(COMMAND_RAW.pack(uuid_bytes(event.command_id), bytes.fromhex(payload_hash)))
        self.made[event.command_id] = (payload_hash, event.version, offset)

    def add_refusal(self, refusal: Refusal) -> None:
        """Remember a refusal, forgetting the oldest beyond the limit."""
        self.refusals[refusal.command_id] = refusal
        while len(self.refusals) > REMEMBERED_REFUSALS:
            del self.refusals[next(iter(self.refusals))]

    def add_emission(self, emission: Emission, size: int, head: str) -> None:
        """Keep what the outputs of a command follow from; `head` is the hash of its audit record."""
        self.emissions.append(emission)
        self.unsettled += size
        self.offset = max(self.offset, emission.offset)
        self.seq, self.head = emission.seq, head

    def state_at(self, version: int) -> RequestState | None:
        """The state as it was at that version; None for version 0."""
        if self.state is not None and version == self.state.version:
            return self.state
        if self._before is not None and version == self._before.version:
            return self._before
        return fold(self.events[:version], self.request_id)

    def forget_settled(self, settled: int) -> None:
        """Drop what was kept for commands before offset `settled`: their outputs are in the log."""
        if self.emissions and self.emissions[0].offset < settled:
            self.emissions = [one for one in self.emissions if one.offset >= settled]
            self.unsettled = sum(one.size for one in self.emissions)
        self.settled = max(self.settled, settled)

    def _next_due(self, state: RequestState) -> Due | None:
        return next_due(state, escalates=self.size < ESCALATES_BELOW)

    def encode(self) -> bytes:
        """The record's bytes. Every value in it was encoded once before it was taken over, so this does not fail."""
        refusals, emissions = self.refusals.values(), self.emissions
        body: list[Any] = [
            orjson.Fragment(b"[" + b",".join(self.rows) + b"]"),
            [one.row(self.request_id) for one in refusals],
            [one.row(self.request_id) for one in emissions],
        ]
        if not self.entity.startswith(_REQUEST):
            body.append(self.entity)
        return b"".join(
            (
                bytes((FORMAT,)),
                _header(self.due),
                _FIXED.pack(
                    self.offset, self.settled, self.seq, len(self.rows), len(refusals), len(emissions),
                    bytes.fromhex(self.head), uuid_bytes(self.request_id),
                ),
                *self.commands,
                *[one.raw() for one in refusals],
                *[one.raw() for one in emissions],
                orjson.dumps(body),
            )
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> Record:
        """The record from its bytes.

        Raises:
            ValueError: not a format this program knows.
        """
        match data[:1]:
            case b"\x01":
                return cls._of_format_1(data)
            case b"\x02" | b"\x03":
                return cls._of_format_3(data)
        raise ValueError(f"table record has format {data[:1]!r}, expected 1 to {FORMAT}; a newer program wrote it")

    @classmethod
    def _of_format_3(cls, data: bytes) -> Record:
        offset, settled, seq, events, refusals, emissions, head, id_ = _FIXED.unpack_from(data, HEADER_BYTES)
        first = HEADER_BYTES + _FIXED.size
        second = first + events * COMMAND_RAW.size
        third = second + refusals * COMMAND_RAW.size
        end = third + emissions * EMISSION_RAW.size
        rows, refusal_rows, emission_rows, *entity = orjson.loads(data[end:])
        request_id = "" if entity else uuid_text(id_)
        made_raw = list(COMMAND_RAW.iter_unpack(data[first:second]))
        found = list(event_rows.unpacked(rows, [uuid_text(raw[0]) for raw in made_raw]))
        record = cls(
            entity=entity[0] if entity else _REQUEST + request_id,
            request_id=request_id,
            events=[event for event, _ in found],
            rows=[orjson.dumps(row) for row in rows],
            commands=[data[at : at + COMMAND_RAW.size] for at in range(first, second, COMMAND_RAW.size)],
            offset=offset,
            settled=settled,
            seq=seq,
            head=head.hex(),
        )
        for raw, (event, made_at) in zip(made_raw, found, strict=True):
            record.made[event.command_id] = (raw[1].hex(), event.version, made_at)
        for raw, row in zip(COMMAND_RAW.iter_unpack(data[second:third]), refusal_rows, strict=True):
            refusal = Refusal.restored(raw, row, request_id)
            record.refusals[refusal.command_id] = refusal
        for raw, row in zip(EMISSION_RAW.iter_unpack(data[third:end]), emission_rows, strict=True):
            record.emissions.append(Emission.restored(raw, row, request_id, record.events))
        state = fold(record.events, request_id)
        if state is not None:
            record.size = sum(len(row) + 1 for row in record.rows)
            record.state, record.due = state, record._next_due(state)
        record.unsettled = sum(one.size for one in record.emissions)
        return record

    @classmethod
    def _of_format_1(cls, data: bytes) -> Record:
        events, made, facts = record_format_1.read(data[HEADER_BYTES:])
        record = cls(**facts)
        for event, (payload_hash, offset) in zip(events, made, strict=True):
            record.add_event(record.prepare(event, offset), payload_hash, offset)
        record.unsettled = sum(one.size for one in record.emissions)
        return record


def _header(due: Due | None) -> bytes:
    return (0 if due is None else KINDS.index(due.kind) << _KIND_SHIFT | due.at).to_bytes(8, "big")


def due_of(data: bytes) -> tuple[int, Kind] | None:
    """What time does next, from a record's header alone: when, in ms, and what."""
    found = int.from_bytes(data[1:HEADER_BYTES], "big")
    return (found & (1 << _KIND_SHIFT) - 1, KINDS[found >> _KIND_SHIFT]) if found else None


def pending_of(data: bytes) -> bool:
    """Whether the request waits for a vote, without making events of its rows; of the first format by decoding it."""
    due = due_of(data)
    if due is not None:
        return due[1] != "close"
    if data[0] == 1:
        state = Record.decode(data).state
        return state is not None and state.pending
    return not event_rows.ended(_rows_of(data))


def due_version_of(data: bytes) -> int:
    """The version that what time does next names (`Due.version`), 0 when there is nothing: without making events of the rows,
    which takes milliseconds for a request full of comments, but where two events of one millisecond leave it open.
    """
    due = due_of(data)
    if due is None:
        return 0
    found = [] if data[0] == 1 else event_rows.started(_rows_of(data), *due)
    if len(found) == 1:
        return found[0]
    folded = Record.decode(data).due
    return 0 if folded is None else folded.version


def _rows_of(data: bytes) -> list[event_rows.Row]:
    _, _, _, events, refusals, emissions, _, _ = _FIXED.unpack_from(data, HEADER_BYTES)
    commands = (events + refusals) * COMMAND_RAW.size + emissions * EMISSION_RAW.size
    rows: list[event_rows.Row] = orjson.loads(data[HEADER_BYTES + _FIXED.size + commands :])[0]
    return rows


def seq_of(data: bytes) -> int:
    """Length of the audit chain, from a record's fixed part alone; of the first format by decoding it."""
    if data[0] == 1:
        return Record.decode(data).seq
    return int.from_bytes(data[_SEQ_AT : _SEQ_AT + 4], "big")
