"""One record of `athena.audit` as the projector reads it: checked JSON, or a reason to stop."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import orjson

from schemas.audit import GENESIS, canonical, chain_hash, sha256_hex
from schemas.envelope import header

FENCE = "athena.fence"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Poison(Exception):
    """A record or a gap that must not be skipped: the projector stops. `partition` and `offset` say where it lies."""

    def __init__(self, why: str, partition: int | None = None, offset: int | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.partition = partition
        self.offset = offset


def parse(value: bytes | None, headers: Iterable[tuple[str, bytes]]) -> dict[str, Any] | None:
    """The audit record as a mapping; None for a fence marker, which is no audit record.

    Raises:
        Poison: it is no JSON object, its hash or its content's hash is another, or the first of a chain names a predecessor.
    """
    if not value or value[:1] != b"{":
        if header(headers, "ce_type") == FENCE:
            return None
        raise Poison(f"expected a JSON object, found {(value or b'')[:40]!r}")
    try:
        record: dict[str, Any] = orjson.loads(value)
        if chain_hash(record) != record["hash"]:
            raise Poison(f"{record['entity']} seq {record['seq']}: the record's hash is not that of its fields")
        event = record["event"]
        if event is not None and sha256_hex(canonical(event)) != record["content"]:
            raise Poison(f"{record['entity']} seq {record['seq']}: the event is not the one its hash commits to")
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        if header(headers, "ce_type") == FENCE:
            return None
        raise Poison(f"no audit record: {error!r}") from error
    if record["seq"] == 1 and record["prev_hash"] != GENESIS:
        raise Poison(f"{record['entity']} seq 1: expected 64 zeros as prev_hash, found {record['prev_hash']}")
    return record


def is_uuid(text: object) -> bool:
    """Whether the text is a UUID in lower case."""
    return isinstance(text, str) and _UUID.fullmatch(text) is not None
