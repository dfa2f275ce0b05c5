"""The one record per request in the worker's table, and its bytes.

What is stored is the request's events (their fold is the state), which commands made them, the last refusals, the head of the
audit chain, and what is needed to repeat the outputs of commands whose offset may not be committed yet. Outputs themselves
are not stored: they follow from this record.

Bytes: one byte format version (1), eight bytes big endian of `closes_at` in ms (0: no window is open), then JSON. The header
lets the rebuild of the window index pass over a million records without decoding them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from schemas.audit import GENESIS
from schemas.base import plain
from schemas.events import EVENT_LIST, AnyEvent
from schemas.state import RequestState
from tables.evolve import evolve, fold

FORMAT = 1
HEADER_BYTES = 9
#: Refusals whose command ids are remembered per record (`streams.md`, promise 2).
REMEMBERED_REFUSALS = 64


@dataclass(slots=True)
class Emission:
    """What the outputs of one command follow from, besides the events. `version` is the request's version after an accepted
    command, or the version that a refused one met (0: no request); `code` None means accepted. `at` in ms.
    """

    offset: int
    command_id: str
    request_id: str
    actor_id: str
    roles: list[str]
    action: str
    level: str | None
    at: int
    version: int
    code: str | None
    pointer: str | None
    visible: bool
    seq: int
    prev_hash: str
    correlation_id: str
    source_address: str | None
    salt: str
    comment: str | None
    traceparent: str | None
    device_time: str | None = None

    def packed(self) -> list[Any]:
        return [getattr(self, name) for name in self.__slots__]


@dataclass(slots=True)
class Refusal:
    """A remembered refusal: enough to give its outcome again."""

    command_id: str
    payload_hash: str
    code: str
    pointer: str | None
    visible: bool
    version: int
    offset: int
    request_id: str

    def packed(self) -> list[Any]:
        return [getattr(self, name) for name in self.__slots__]


@dataclass(slots=True)
class Record:
    """`entity` names the audit chain. `made` maps the id of each command that made an event to (payload hash, version,
    offset). `offset` is that of the last command applied, -1 for none. `text` counts the characters of all its comments.
    """

    entity: str
    request_id: str
    events: list[AnyEvent] = field(default_factory=list)
    made: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    refusals: dict[str, Refusal] = field(default_factory=dict)
    emissions: list[Emission] = field(default_factory=list)
    offset: int = -1
    seq: int = 0
    head: str = GENESIS
    state: RequestState | None = None
    documents: list[dict[str, Any]] = field(default_factory=list)
    text: int = 0
    _before: RequestState | None = None

    def add_event(self, event: AnyEvent, payload_hash: str, offset: int) -> None:
        """Take over an event, and remember the command that made it."""
        self._before, self.state = self.state, evolve(self.state, event, self.request_id)
        self.text += text_of(event)
        self.events.append(event)
        self.documents.append(plain(event))
        self.made[event.command_id] = (payload_hash, event.version, offset)

    def add_refusal(self, refusal: Refusal) -> None:
        """Remember a refusal, forgetting the oldest beyond the limit."""
        self.refusals[refusal.command_id] = refusal
        while len(self.refusals) > REMEMBERED_REFUSALS:
            del self.refusals[next(iter(self.refusals))]

    def state_at(self, version: int) -> RequestState | None:
        """The state as it was at that version; None for version 0."""
        if self.state is not None and version == self.state.version:
            return self.state
        if self._before is not None and version == self._before.version:
            return self._before
        return fold(self.events[:version], self.request_id)

    def forget_committed(self, committed: int) -> None:
        """Drop what was kept for commands before offset `committed`: they cannot come again."""
        if self.emissions and self.emissions[0].offset < committed:
            self.emissions = [one for one in self.emissions if one.offset >= committed]

    @property
    def closes_at(self) -> int | None:
        return None if self.state is None else self.state.closes_at

    def encode(self) -> bytes:
        """The record's bytes."""
        body = {
            "entity": self.entity,
            "request_id": self.request_id,
            "events": self.documents,
            "made": [[payload_hash, offset] for payload_hash, _, offset in self.made.values()],
            "refusals": [one.packed() for one in self.refusals.values()],
            "emissions": [one.packed() for one in self.emissions],
            "offset": self.offset,
            "seq": self.seq,
            "head": self.head,
        }
        return bytes((FORMAT,)) + (self.closes_at or 0).to_bytes(8, "big") + orjson.dumps(body)

    @classmethod
    def decode(cls, data: bytes) -> Record:
        """The record from its bytes.

        Raises:
            ValueError: not a format this program knows.
        """
        if not data or data[0] != FORMAT:
            raise ValueError(f"table record has format {data[:1]!r}, expected {FORMAT}; a newer program wrote it")
        body = orjson.loads(data[HEADER_BYTES:])
        events = list(EVENT_LIST.validate_python(body["events"]))
        made = {
            event.command_id: (payload_hash, event.version, offset)
            for event, (payload_hash, offset) in zip(events, body["made"], strict=True)
        }
        refusals = [Refusal(*packed) for packed in body["refusals"]]
        return cls(
            entity=body["entity"],
            request_id=body["request_id"],
            events=events,
            made=made,
            refusals={one.command_id: one for one in refusals},
            emissions=[Emission(*packed) for packed in body["emissions"]],
            offset=body["offset"],
            seq=body["seq"],
            head=body["head"],
            state=fold(events, body["request_id"]),
            documents=body["events"],
            text=sum(text_of(event) for event in events),
        )


def text_of(event: AnyEvent) -> int:
    """Characters of the event's comment."""
    return len(getattr(event, "comment", None) or "")


def closes_at_of(data: bytes) -> int | None:
    """`closes_at` from a record's header alone."""
    due = int.from_bytes(data[1:HEADER_BYTES], "big")
    return due or None
