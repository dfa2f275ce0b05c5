"""What a record keeps of single commands: `Emission` for what is not settled, `Refusal` for the last refused ones.

Stored as fixed bytes for ids and hashes, and a row of values by position for the rest (as in `tables.event_rows`: optional
values may be added at a row's end). What the record says anyway is left out of a row.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.events import AnyEvent, action_of

Row = list[Any]

#: (command id, hash before, salt) of an emission; (command id, payload hash) of a refusal, or of a command that made an event.
EMISSION_RAW = struct.Struct(">16s32s16s")
COMMAND_RAW = struct.Struct(">16s16s")


@dataclass(slots=True)
class Emission:
    """What the outputs of one command follow from, besides the events. `version` is the request's version after an accepted
    command, or the version that a refused one met (0: no request); `code` None means accepted. `at` in ms. `stand_ins`:
    [approver, delegate] of an accepted one, where delegates are told.
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
    stand_ins: list[list[str]] | None = None

    def raw(self) -> bytes:
        return EMISSION_RAW.pack(uuid_bytes(self.command_id), bytes.fromhex(self.prev_hash), bytes.fromhex(self.salt))

    def row(self, request_id: str) -> Row:
        """For a record of that request ("" for none). Of an accepted command the event has most."""
        row: Row = [
            self.code, self.offset, self.seq, self.version, self.level, self.roles,
            None if self.correlation_id == self.command_id else self.correlation_id, self.source_address,
            self.traceparent, self.device_time,
        ]  # fmt: skip
        if self.code is not None:
            other = None if self.request_id == request_id else self.request_id
            row += [self.at, self.actor_id, self.action, int(self.visible), self.comment, self.pointer, other]
        else:
            row.append(self.stand_ins)
        return trimmed(row)

    @property
    def size(self) -> int:
        """Bytes that it takes in a record. Raises for one that has no bytes."""
        return len(self.raw()) + len(orjson.dumps(self.row("")))

    @classmethod
    def restored(cls, raw: Sequence[bytes], row: Row, request_id: str, events: Sequence[AnyEvent]) -> Emission:
        """The emission from its bytes in the record of that request with these events."""
        command_id = uuid_text(raw[0])
        code, offset, seq, version, level, roles, correlation_id, source, trace, device = _padded(row, 10)
        event = None if code is not None else events[version - 1]
        if event is not None:
            at, actor, action, visible = event.at, event.actor_id, action_of(event), True
            comment = pointer = other = None
            (stand_ins,) = _padded(row[10:], 1)
        else:
            stand_ins = None
            at, actor, action, visible, comment, pointer, other = _padded(row[10:], 7)
        return cls(
            offset, command_id, other or request_id, actor, roles, action, level, at, version, code, pointer,
            bool(visible), seq, raw[1].hex(), correlation_id or command_id, source, raw[2].hex(), comment, trace, device,
            stand_ins,
        )  # fmt: skip


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

    def raw(self) -> bytes:
        return COMMAND_RAW.pack(uuid_bytes(self.command_id), bytes.fromhex(self.payload_hash))

    def row(self, request_id: str) -> Row:
        other = None if self.request_id == request_id else self.request_id
        return trimmed([self.code, self.offset, self.version, int(self.visible), self.pointer, other])

    @classmethod
    def restored(cls, raw: Sequence[bytes], row: Row, request_id: str) -> Refusal:
        """The refusal from its bytes in the record of that request."""
        code, offset, version, visible, pointer, other = _padded(row, 6)
        return cls(
            uuid_text(raw[0]), raw[1].hex(), code, pointer, bool(visible), version, offset, other or request_id
        )  # fmt: skip


def uuid_bytes(text: str) -> bytes:
    """16 bytes of a UUID in its usual form; zeros for the empty text."""
    return bytes.fromhex(text.replace("-", "")) if text else bytes(16)


def uuid_text(data: bytes) -> str:
    """The usual form, in small letters."""
    found = data.hex()
    return f"{found[:8]}-{found[8:12]}-{found[12:16]}-{found[16:20]}-{found[20:]}"


def trimmed(row: Row) -> Row:
    """Without the Nones at its end."""
    while row and row[-1] is None:
        row.pop()
    return row


def _padded(row: Row, length: int) -> Row:
    return row[:length] + [None] * (length - len(row))
