"""Records that cannot be processed: raw bytes and the reason, and the outcome `failed` if somebody may be waiting."""

from __future__ import annotations

import base64

import orjson

from agents.ports import Incoming, Output
from schemas import topics
from schemas.base import SCHEMA_VERSION, rfc3339
from schemas.codes import DETAIL, Code
from schemas.envelope import derived_id, header, headers

#: Longest text of an error or trace in a dead letter, in characters.
MAX_TEXT = 8000
#: Largest raw value kept, in bytes; a longer one stays readable at its source offset for 14 days.
MAX_RAW = 512 * 1024


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data[:MAX_RAW]).decode()


def dead_letter(record: Incoming, error: str, trace: str | None) -> Output:
    """The dead letter of a record; the same record always has the same id."""
    id_ = derived_id("dead-letter", record.topic, record.partition, record.offset)
    body = {
        "schema_version": SCHEMA_VERSION,
        "id": id_,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": _base64(record.key),
        "value": _base64(record.value),
        "headers": [[name, base64.b64encode(value or b"").decode()] for name, value in record.headers],
        "error": error[:MAX_TEXT],
        "trace": None if trace is None else trace[:MAX_TEXT],
    }
    found = headers(
        id_=id_,
        type_="athena.dead-letter",
        source="athena/worker",
        time=rfc3339(max(record.timestamp, 0)),
        subject=f"{record.topic}/{record.partition}/{record.offset}",
        correlation_id=header(record.headers, "correlation_id") or id_,
    )
    return Output(topics.DEAD_LETTERS, record.key, orjson.dumps(body), found)


def command_id_of(record: Incoming) -> str | None:
    """The command id, if it can be read from the body or the `ce_id` header."""
    try:
        body = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        body = None
    found = body.get("command_id") if isinstance(body, dict) else None
    if not isinstance(found, str):
        found = header(record.headers, "ce_id")
    return found if found and len(found) <= 64 else None


def failed_outcome(record: Incoming, partition: int) -> Output | None:
    """Outcome `failed`, which is not remembered: a replay decides the command. None if nobody can be told."""
    command_id = command_id_of(record)
    if command_id is None:
        return None
    body = {
        "schema_version": SCHEMA_VERSION,
        "command_id": command_id,
        "status": "failed",
        "code": Code.FAILED.value,
        "detail": DETAIL[Code.FAILED],
        "request_id": None,
        "version": None,
        "partition": partition,
        "offset": record.offset,
        "request": None,
        "pointer": None,
    }
    found = headers(
        id_=derived_id(command_id, "outcome", record.offset),
        type_="athena.outcome.failed",
        source="athena/worker",
        time=rfc3339(max(record.timestamp, 0)),
        subject=command_id,
        correlation_id=header(record.headers, "correlation_id") or command_id,
    )
    return Output(topics.OUTCOMES, record.key, orjson.dumps(body), found)
