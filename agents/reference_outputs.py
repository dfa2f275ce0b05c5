"""The outputs of one reference command as rows: (topic, key, value, type, time, subject, correlation id, id).

An entity's record keeps rows until they are in the log: unlike a request's, they do not follow from what it holds.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import orjson

from agents.emissions import derived_salt
from agents.ports import Incoming, Output
from agents.spread import partition_of
from rules.decide_reference import ReferenceDecision
from schemas import topics
from schemas.audit import canonical, commitments, content_hash, sha256_hex
from schemas.base import SCHEMA_VERSION, rfc3339
from schemas.codes import DETAIL
from schemas.envelope import derived_id, headers
from schemas.outcomes import answering
from schemas.reference import ReferenceCommand, entity_key

SOURCE = "athena/worker"

Row = list[str | None]


@dataclass(frozen=True, slots=True)
class Link:
    """Where in its chain an audit record stands; `roles` are those of the actor. `at` in ms."""

    chain: str
    seq: int
    prev_hash: str
    at: int
    roles: list[str]


def audit_row(
    link: Link,
    command: ReferenceCommand,
    decision: ReferenceDecision,
    before: dict[str, Any] | None,
    document: dict[str, Any] | None,
) -> tuple[Row, str]:
    """The audit record, and its hash. `before` and `document`: the entity before and after the command."""
    personal = {} if command.source_address is None else {"source_address": command.source_address}
    salt = command.salt or derived_salt(command.command_id)
    event = None if decision.refusal is not None else _event(decision, document)
    chained = {
        "schema_version": SCHEMA_VERSION,
        "entity": link.chain,
        "seq": link.seq,
        "request_id": None,
        "version": None if document is None or decision.refusal else document["version"],
        "command_id": command.command_id,
        "actor_id": command.actor_id,
        "actor_roles": link.roles,
        "action": decision.action,
        "level": None,
        "at": rfc3339(link.at),
        "outcome": "accepted" if decision.refusal is None else "refused",
        "code": None if decision.refusal is None else decision.refusal.value,
        "status_before": _status(before),
        "status_after": _status(document if decision.refusal is None else before),
        "correlation_id": command.correlation_id,
        "content": None if event is None else content_hash(event),
        "commitments": commitments(salt, personal),
        "prev_hash": link.prev_hash,
    }
    hash_ = sha256_hex(canonical(chained))
    removed = {"kind": decision.kind, "id": decision.id, "removed": True}
    body = chained | {
        "hash": hash_,
        "event": event,
        "personal": personal,
        "salt": salt if personal else None,
        "request": None,
        "entity_after": None if decision.refusal else document or removed,
    }
    value = orjson.dumps(body).decode()
    return [
        topics.AUDIT,
        link.chain,
        value,
        f"athena.audit.{decision.action}",
        body["at"],
        link.chain,
        command.correlation_id,
        derived_id(link.chain, link.seq, "audit"),
    ], hash_


def output_of(row: Row, answers: int, partitions: int) -> Output:
    """A row as it is sent. `answers`: offset of the record that an outcome is for; keys are spread over `partitions`."""
    topic, key, value, type_, time, subject, correlation_id, id_ = row
    assert topic and key and type_ and time and subject and correlation_id and id_
    found = headers(id_=id_, type_=type_, source=SOURCE, time=time, subject=subject, correlation_id=correlation_id)
    if topic == topics.OUTCOMES:
        found.append(answering(answers))
    partition = 0 if topic == topics.REFERENCE else partition_of(key.encode(), partitions)
    return Output(topic, key.encode(), None if value is None else value.encode(), found, partition)


def _status(document: dict[str, Any] | None) -> str | None:
    if document is None:
        return None
    return "active" if document.get("active", True) else "inactive"


def packed(rows: list[Row]) -> str:
    """Compressed: a rules file stands in several rows, and all of them must fit into one message."""
    return base64.b64encode(zlib.compress(orjson.dumps(rows))).decode()


def unpacked(text: str) -> list[Row]:
    """The rows of `packed`."""
    rows: list[Row] = orjson.loads(zlib.decompress(base64.b64decode(text)))
    return rows


def _event(decision: ReferenceDecision, document: dict[str, Any] | None) -> dict[str, Any]:
    """What the audit chain commits to: the entity after it; of a rules file's text the SHA-256, the text is in `entity_after`."""
    if document is not None and "yaml" in document:
        document = {name: value for name, value in document.items() if name != "yaml"} | {
            "yaml_sha256": sha256_hex(document["yaml"].encode())
        }
    return {"type": decision.action, "entity": document or decision.id}


def reference_row(
    link: Link, command: ReferenceCommand, decision: ReferenceDecision, document: dict[str, Any] | None
) -> Row:
    """The entity for `athena.reference`."""
    id_ = derived_id(link.chain, link.seq, "reference")
    key = entity_key(decision.kind, decision.id)
    value = None if document is None else orjson.dumps(document).decode()
    type_ = f"athena.reference.{decision.kind}"
    return [topics.REFERENCE, key, value, type_, rfc3339(link.at), key, command.correlation_id, id_]


def outcome_row(
    command: ReferenceCommand,
    decision: ReferenceDecision,
    document: dict[str, Any] | None,
    source: Incoming,
    at: int,
) -> Row:
    """The outcome of `source`."""
    refused = decision.refusal
    shown = None if document is None else {name: value for name, value in document.items() if name != "yaml"}
    body = {
        "schema_version": SCHEMA_VERSION,
        "command_id": command.command_id,
        "status": "accepted" if refused is None else "refused",
        "code": None if refused is None else refused.value,
        "detail": None if refused is None else DETAIL[refused],
        "request_id": None,
        "version": None if document is None else document["version"],
        "partition": source.partition,
        "offset": source.offset,
        "request": None,
        "entity": shown,
        "findings": [finding.model_dump(mode="json") for finding in decision.findings] or None,
        "pointer": decision.pointer,
    }
    type_ = "athena.outcome." + ("accepted" if refused is None else "refused")
    key = entity_key(decision.kind, decision.id)
    return [
        topics.OUTCOMES,
        key,
        orjson.dumps(body).decode(),
        type_,
        rfc3339(at),
        command.command_id,
        command.correlation_id,
        derived_id(command.command_id, "outcome", source.offset),
    ]
