"""Records that cannot be processed: raw bytes and the reason, and the outcome `failed` if somebody may be waiting."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import orjson

from agents.ports import Incoming, Output
from schemas import topics
from schemas.base import SCHEMA_VERSION, rfc3339
from schemas.codes import DETAIL, Code
from schemas.envelope import derived_id, header, headers
from schemas.outcomes import answering

#: Longest text of an error or trace in a dead letter, in characters.
MAX_TEXT = 8000
#: Of key, value and headers together, in bytes. Base64 makes 3.87 MB of it, and the topic takes 4 MiB: every record of the
#: commands and security topics (1 MiB) fits whole. Of a longer one (`cut`) the source topic keeps the rest for 14 days.
MAX_RAW = 2_900_000
#: A longer key or more headers are none of ours.
MAX_KEY = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Kept:
    """What of a record fits into its dead letter."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    cut: bool


def _kept(record: Incoming) -> _Kept:
    found = [(name, value or b"") for name, value in record.headers]
    if sum(len(name.encode()) + len(value) + 16 for name, value in found) > MAX_KEY:
        found = []
    key = None if record.key is None else record.key[:MAX_KEY]
    value = None if record.value is None else record.value[: MAX_RAW - 2 * MAX_KEY]
    whole = key == record.key and value == record.value and len(found) == len(list(record.headers))
    return _Kept(key, value, found, cut=not whole)


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _text(text: str) -> str:
    """The beginning of a text that may quote the record, half characters included."""
    return text[:MAX_TEXT].encode("utf-8", "replace").decode()


def dead_letter(record: Incoming, error: str, trace: str | None) -> Output:
    """The dead letter of a record; the same record always has the same id."""
    id_ = derived_id("dead-letter", record.topic, record.partition, record.offset)
    kept = _kept(record)
    body = {
        "schema_version": SCHEMA_VERSION,
        "id": id_,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": _base64(kept.key),
        "value": _base64(kept.value),
        "headers": [[name, _base64(value)] for name, value in kept.headers],
        "error": _text(error),
        "trace": None if trace is None else _text(trace),
        "cut": kept.cut,
    }
    found = headers(
        id_=id_,
        type_="athena.dead-letter",
        source="athena/worker",
        time=rfc3339(max(record.timestamp, 0)),
        subject=f"{record.topic}/{record.partition}/{record.offset}",
        correlation_id=header(record.headers, "correlation_id") or id_,
    )
    return Output(topics.DEAD_LETTERS, kept.key, orjson.dumps(body), found)


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
    found.append(answering(record.offset))
    return Output(topics.OUTCOMES, None if record.key is None else record.key[:MAX_KEY], orjson.dumps(body), found)
