"""What became of a command, on `athena.outcomes`; and what is to be sent to whom, on `athena.notifications`."""

from __future__ import annotations

from typing import Any, Literal

from schemas.base import SCHEMA_VERSION, Stored

#: Header of an outcome: offset of the command's record that it answers. Each record has its own, a repeat's tells again what
#: became of the first.
ANSWERS = "answers"


def answering(offset: int) -> tuple[str, bytes]:
    """The header of an outcome that answers the record at that offset."""
    return (ANSWERS, b"%d" % offset)


class Outcome(Stored):
    """The one outcome of a command; the record's `ce_subject` and key are the command id's and the request id's.

    `offset` is that of the record that was decided: a caller whose own record, which the header `answers` names, has another
    offset sees a repeat. `request` is the
    request after an accepted command, or as it was when it was refused (None if the actor has no part in it). For
    reference data `entity` is the entity after the command, `findings` what the check of a rules file found. `pointer` names
    the field that an `unknown-reference` is about.
    """

    schema_version: int = SCHEMA_VERSION
    command_id: str
    status: Literal["accepted", "refused", "failed"]
    code: str | None
    detail: str | None
    request_id: str | None
    version: int | None
    partition: int
    offset: int
    request: dict[str, Any] | None = None
    entity: dict[str, Any] | None = None
    findings: list[dict[str, Any]] | None = None
    pointer: str | None = None


class Notification(Stored):
    """One message to one person about one event; channels and language are chosen when it is sent.

    `template` is `level-opened`, `approved`, `rejected`, `finalized`, `closed`, `rolled-back`, `task-cancelled`, `withdrawn`,
    `votes-dropped`, `commented`, `reminder` or `escalated`. `params` holds nothing that the receiver may not see.
    """

    schema_version: int = SCHEMA_VERSION
    id: str
    event_id: str
    request_id: str
    version: int
    template: str
    user_id: str
    at: str
    correlation_id: str
    params: dict[str, str]


class DeadLetter(Stored):
    """Why a record could not be processed; its raw bytes are in `key`, `value` and `headers`, base64.

    `cut`: it was too large for a letter to hold; the whole of it is at its source, for as long as that topic keeps it.
    """

    schema_version: int = SCHEMA_VERSION
    id: str
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: str | None
    value: str | None
    headers: list[tuple[str, str]]
    error: str
    trace: str | None
    cut: bool = False
