"""Checkpoints of the audit log on `athena.checkpoints`: what one partition of `athena.audit` held when it was signed.

One tree per partition. Its leaves are the partition's records in the order of their offsets, repeats included, control records not.
A leaf is the 64 bytes `hash ‖ SHA-256(value)`: the chain hash that the record's value names (32 zero bytes where it names none),
and the hash of all its bytes. So whoever has the record without its personal parts, and the hash of its bytes, can still prove it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from schemas import topics
from schemas.base import SCHEMA_VERSION, Stored
from schemas.merkle import Tree, leaf_hash
from schemas.notes import NoteError, VerifierKey, open_note

_NO_HASH = bytes(32)
_HEX = re.compile(r"[0-9a-f]{64}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_PARTITION = re.compile(r"0|[1-9][0-9]{0,8}")
_LAST_OFFSET = "last_offset"


class CheckpointRecord(Stored):
    """One checkpoint, and what its successor needs to go on from it.

    `note` is the signed checkpoint (c2sp.org/tlog-checkpoint), `key` the verifier key it is signed with. `start` is the size of the
    checkpoint before it (0: none), `leaves` the hashes of the leaves since then, 32 bytes each, in base64, `tree` the compact range
    at `size`, each hash in base64. `last_offset` is the offset of the last record counted, which
    the note's line of that name signs, `at` when it was signed (RFC 3339).
    """

    schema_version: int = SCHEMA_VERSION
    partition: int
    start: int
    size: int
    last_offset: int
    at: str
    note: str
    key: str
    leaves: str
    tree: list[str]

    def leaf_hashes(self) -> list[bytes]:
        """The hashes of the leaves `start` to `size`. Raises ValueError."""
        data = base64.b64decode(self.leaves, validate=True)
        if len(data) != 32 * (self.size - self.start):
            raise ValueError(f"{len(data)} bytes of leaf hashes for {self.size - self.start} leaves")
        return [data[place : place + 32] for place in range(0, len(data), 32)]

    def moved(self, signed: Checkpoint) -> str | None:
        """Why `last_offset` is not what its note, read as `signed`, binds it to; None when it is."""
        if signed.last_offset is None:
            return f"its note has no line {_LAST_OFFSET}: nothing signed says up to which offset it counts"
        if signed.last_offset != self.last_offset:
            return f"its record says offset {self.last_offset}, but was signed up to offset {signed.last_offset}"
        return None

    def grown(self) -> Tree:
        """The tree at `size`. Raises ValueError."""
        return Tree(self.size, [base64.b64decode(peak, validate=True) for peak in self.tree])


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint's text: which log, how many leaves, their Merkle root, and, as an extension line, the offset of the last record
    under it (None: no such line, as in others' checkpoints)."""

    origin: str
    size: int
    root: bytes
    last_offset: int | None = None

    def text(self) -> str:
        """The text that is signed."""
        extension = "" if self.last_offset is None else f"{_LAST_OFFSET} {self.last_offset}\n"
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n{extension}"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read a note's text; unknown extension lines are left alone. Raises NoteError."""
        lines = text.removesuffix("\n").split("\n")
        if len(lines) < 3 or not all(lines) or not _SIZE.fullmatch(lines[1]):
            raise NoteError("it is no checkpoint: expected origin, size and root hash, a line each")
        try:
            root = base64.b64decode(lines[2], validate=True)
        except (binascii.Error, ValueError):
            root = b""
        if len(root) != 32:
            raise NoteError("it is no checkpoint: the root hash is not 32 bytes in base64")
        return cls(lines[0], int(lines[1]), root, _last_offset(lines[3:]))


def origin_of(installation: str, partition: int) -> str:
    """The log's name in its checkpoints, and that of the key which signs them."""
    return f"{installation}/{topics.AUDIT}/{partition}"


def partition_of(origin: str) -> int | None:
    """Which partition an origin names; None when it is none of ours."""
    _, found, number = origin.rpartition(f"/{topics.AUDIT}/")
    return int(number) if found and _PARTITION.fullmatch(number) else None


def installation_of(origin: str) -> str | None:
    """Which installation an origin names; None when it is none of ours."""
    return None if partition_of(origin) is None else origin.rpartition(f"/{topics.AUDIT}/")[0]


def opened(note: str, keys: Iterable[VerifierKey]) -> Checkpoint:
    """The checkpoint of a note, once a known key of the same name as its origin is seen to have signed it. Raises NoteError."""
    origin = note.partition("\n")[0]
    return Checkpoint.parse(open_note(note, [key for key in keys if key.name == origin]))


def notes_in(text: str) -> list[str]:
    """The notes in a text that holds several, one after the other, as `athena audit checkpoints` prints them."""
    found: list[str] = []
    lines: list[str] = []
    signed = False
    for line in text.splitlines():
        if signed and not line.startswith("\u2014 "):
            found.append("\n".join(lines) + "\n")
            lines, signed = [], False
            if not line:
                continue
        signed = signed or line.startswith("\u2014 ")
        lines.append(line)
    if any(lines):
        found.append("\n".join(lines) + "\n")
    return found


def leaf(value: bytes | None) -> bytes:
    """The leaf hash of one record of `athena.audit`, whatever its value."""
    value = value or b""
    return leaf_of(_named_hash(value), hashlib.sha256(value).digest())


def leaf_of(chain: bytes, value_sha256: bytes) -> bytes:
    """The leaf hash from the record's chain hash and the hash of its bytes."""
    return leaf_hash(chain + value_sha256)


def _last_offset(extensions: list[str]) -> int | None:
    """The offset that the extension lines name; None when no line is for it. Raises NoteError."""
    found = [line for line in extensions if line.startswith(_LAST_OFFSET)]
    if not found:
        return None
    number = found[0].removeprefix(f"{_LAST_OFFSET} ")
    if len(found) > 1 or not _SIZE.fullmatch(number):
        raise NoteError(f"it is no checkpoint: expected {_LAST_OFFSET} and one offset, once, found {found[0][:60]!r}")
    return int(number)


def _named_hash(value: bytes) -> bytes:
    try:
        found = orjson.loads(value)["hash"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return _NO_HASH
    return bytes.fromhex(found) if isinstance(found, str) and _HEX.fullmatch(found) else _NO_HASH
