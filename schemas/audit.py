"""Audit records on `athena.audit`: hash-chained per entity, personal parts as salted commitments.

`hash` = SHA-256 (hex) over the RFC 8785 JSON of the fields named in `CHAINED`, `prev_hash` among them. `content` = SHA-256
over the RFC 8785 JSON of `event`, which holds no personal field. A commitment is HMAC-SHA256(key = salt bytes, field name ‖
0x00 ‖ UTF-8 text), in hex. Values are texts, integers below 2^53, null, lists and objects with ASCII keys, for which sorted
compact JSON and RFC 8785 are the same bytes (a test holds it against an independent implementation).
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, Literal

import orjson

from schemas.base import SCHEMA_VERSION, Stored

GENESIS = "0" * 64

#: The hashed fields of an audit record.
CHAINED = (
    "schema_version", "entity", "seq", "request_id", "version", "command_id", "actor_id", "actor_roles", "action", "level",
    "at", "outcome", "code", "status_before", "status_after", "correlation_id", "content", "commitments", "prev_hash",
)  # fmt: skip


class AuditRecord(Stored):
    """One link of a chain.

    `at` is RFC 3339; `seq` counts from 1 per `entity` (`request:<id>`, `partition:<n>` for refusals of requests that do not
    exist, `user:<id>` and the like for reference data, `session:<user id>` for sign-ins). `event` is the event without its
    personal fields (None for a refusal), `personal` those fields and the source address, `salt` what their commitments were
    made with, `request` the request after it (None where there is none).
    """

    schema_version: int = SCHEMA_VERSION
    entity: str
    seq: int
    request_id: str | None
    version: int | None
    command_id: str
    actor_id: str
    actor_roles: list[str]
    action: str
    level: str | None
    at: str
    outcome: Literal["accepted", "refused"]
    code: str | None
    status_before: str | None
    status_after: str | None
    correlation_id: str
    content: str | None
    commitments: dict[str, str]
    prev_hash: str
    hash: str
    event: dict[str, Any] | None
    personal: dict[str, str]
    salt: str | None
    request: dict[str, Any] | None = None
    entity_after: dict[str, Any] | None = None


def canonical(value: Any) -> bytes:
    """RFC 8785 JSON of what audit records hold."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def content_hash(event: dict[str, Any]) -> str:
    """SHA-256 of the event as it stands in the record."""
    return sha256_hex(canonical(event))


def commitment(salt: str, name: str, text: str) -> str:
    """Commits to a personal text without showing it. `salt` is hex."""
    return hmac.digest(bytes.fromhex(salt), name.encode() + b"\x00" + text.encode(), "sha256").hex()


def commitments(salt: str | None, personal: dict[str, str]) -> dict[str, str]:
    """The commitment of each personal field; the salt must be there when there is something to hide."""
    if not personal:
        return {}
    if salt is None:
        raise ValueError("personal fields need a salt")
    return {name: commitment(salt, name, text) for name, text in personal.items()}


def chain_hash(record: dict[str, Any]) -> str:
    """The hash of a record given as a mapping that has at least the `CHAINED` fields."""
    return sha256_hex(canonical({name: record[name] for name in CHAINED}))
