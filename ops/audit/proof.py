"""A proof file: one request's audit records, each with its inclusion proof, and the signed checkpoint they lead to.

    {"format": "athena-audit-proof/1", "entity": "request:<id>", "checkpoint": "<signed note>",
     "records": [{"index": n, "proof": ["<base64>", …], "value": "<the record's bytes as text>"}, …]}

`index` is the leaf's number from 0, `proof` the hashes of RFC 6962 section 2.1.1, lowest first. Without the personal parts
a record has, instead of `value`, `record` (its hashed fields, `hash` and `event`) and `value_sha256` (hex). Checking needs the
file and the verifier key, nothing else. A file with further fields, or with a name twice, is refused: a person would read in it
what nothing proves.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ops.audit import rows
from ops.audit.found import plain
from ops.audit.rows import Head
from schemas.audit import CHAINED
from schemas.checkpoints import Checkpoint, leaf, leaf_of, opened
from schemas.merkle import root_from_proof
from schemas.notes import NoteError, VerifierKey

FORMAT = "athena-audit-proof/1"
#: Largest file, in bytes: a request has at most 1,000 events, and most records have 2 kB.
MAX_FILE = 128 * 1024 * 1024
_FIELDS = frozenset({"format", "entity", "checkpoint", "records"})
_SHOWN, _HIDDEN = frozenset({"index", "proof", "value"}), frozenset({"index", "proof", "record", "value_sha256"})
_RECORD = frozenset({*CHAINED, "hash", "event"})


class NoProof(Exception):
    """The file cannot be read as a proof: nothing is proved, and nothing refuted."""


class Refuted(Exception):
    """The file is a proof, and does not hold; the message names the record."""


@dataclass(frozen=True, slots=True)
class Proved:
    """What a file proves: the records 1 to `records` of the chain `entity` were in the log under `checkpoint`.

    `personal` counts the personal texts that were shown and are those committed to, `hidden` those that were not shown.
    `versions` is the request's version after the last record.
    """

    entity: str
    checkpoint: Checkpoint
    records: int
    versions: int
    personal: int
    hidden: int


def build(
    entity: str, note: str, records: Sequence[tuple[int, bytes, Sequence[bytes]]], *, personal: bool = True
) -> bytes:
    """The file's bytes. `records` are (leaf index, value, audit path), in the order of the chain."""
    shown = []
    for index, value, proof in records:
        one: dict[str, Any] = {"index": index, "proof": [base64.b64encode(node).decode() for node in proof]}
        if personal:
            one["value"] = value.decode()
        else:
            body = orjson.loads(value)
            one["record"] = {name: body[name] for name in (*CHAINED, "hash", "event")}
            one["value_sha256"] = hashlib.sha256(value).hexdigest()
        shown.append(one)
    document = {"format": FORMAT, "entity": entity, "checkpoint": note, "records": shown}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def check(data: bytes, keys: Collection[VerifierKey]) -> Proved:
    """Check a proof file, offline.

    Raises:
        NoProof: it is no proof file.
        Refuted: a signature, an inclusion proof, a hash, a link or a commitment does not hold.
    """
    entity, note, items = _document(data)
    try:
        checkpoint = opened(note, keys)
    except NoteError as error:
        raise Refuted(f"the checkpoint: {error}") from error
    head, versions, shown, hidden, last = Head(), 0, 0, 0, -1
    for item in items:
        index, hashed, proof, record = _read(item)
        where = f"record {head.seq + 1} (leaf {index})"
        if record.get("entity") != entity:
            raise Refuted(f"{where} is of {plain(record.get('entity'), 100)}, not of {plain(entity, 100)}")
        why = rows.why_not(record, head)
        if why is not None:
            raise Refuted(f"{where}: {plain(why, 300)}")
        try:
            root = root_from_proof(index, checkpoint.size, hashed, proof)
        except ValueError as error:
            raise Refuted(f"{where}: {error}") from error
        if root != checkpoint.root or index <= last:
            raise Refuted(f"{where} is not in the log that the checkpoint was signed over, at that place")
        if record["outcome"] == "accepted" and record["version"] != versions + 1:
            raise Refuted(f"{where}: expected version {versions + 1}, found {record['version']}")
        versions += record["outcome"] == "accepted"
        head.seq, head.hash, last = record["seq"], record["hash"], index
        shown += len(record["personal"] or {})
        hidden += len(record["commitments"]) - len(record["personal"] or {})
    if not items:
        raise Refuted("it holds no record")
    return Proved(entity, checkpoint, head.seq, versions, shown, hidden)


def _document(data: bytes) -> tuple[str, str, list[Any]]:
    """The file's entity, checkpoint and entries. Raises NoProof."""
    if len(data) > MAX_FILE:
        raise NoProof(f"it has over {MAX_FILE} bytes, more than a proof file may have")
    try:
        document = orjson.loads(data)
        if document["format"] != FORMAT:
            raise NoProof(f"its format is {plain(document['format'], 60)!r}, expected {FORMAT}")
        # orjson takes the last of two fields of one name, a person the first.
        json.loads(data, object_pairs_hook=_each_once)
        entity, note, items = document["entity"], document["checkpoint"], document["records"]
        if (
            document.keys() != _FIELDS
            or not isinstance(items, list)
            or not all(isinstance(t, str) for t in (entity, note))
        ):
            raise NoProof(f"it must have the fields {', '.join(sorted(_FIELDS))}, and no others")
    except (orjson.JSONDecodeError, KeyError, TypeError, RecursionError) as error:
        raise NoProof(f"it is no proof file: {plain(repr(error), 200)}") from error
    return entity, note, items


def _each_once(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise NoProof("a field stands in it twice")


def _read(item: Any) -> tuple[int, bytes, list[bytes], dict[str, Any]]:
    """Leaf index, leaf hash, audit path and record of one entry. Raises NoProof."""
    try:
        index = item["index"]
        proof = [base64.b64decode(node, validate=True) for node in item["proof"]]
        if type(index) is not int or any(len(node) != 32 for node in proof):
            raise NoProof("an index is no number, or a hash of a proof is not 32 bytes")
        if item.keys() not in (_SHOWN, _HIDDEN) or ("record" in item and item["record"].keys() != _RECORD):
            raise NoProof("an entry has other fields than it must have")
        if "value" in item:
            value = item["value"].encode()
            record: dict[str, Any] = orjson.loads(value)
            return (
                index,
                leaf(value),
                proof,
                record | {"personal": record["personal"], "commitments": record["commitments"]},
            )
        record = item["record"] | {"personal": {}, "salt": None}
        hashed = leaf_of(bytes.fromhex(record["hash"]), bytes.fromhex(item["value_sha256"]))
        return index, hashed, proof, record | {"commitments": dict(record["commitments"])}
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError, binascii.Error) as error:
        raise NoProof(f"an entry cannot be read: {plain(repr(error), 200)}") from error
