"""The outputs of one command, rendered from its record alone: the same record, the same bytes, however often.

Audit record and outcome carry the request after the command; notifications say what changed for whom.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from agents.ports import Output
from agents.stand_ins import told_too
from schemas import topics
from schemas.audit import canonical, commitments, content_hash, sha256_hex
from schemas.base import SCHEMA_VERSION, rfc3339
from schemas.codes import DETAIL, Code
from schemas.envelope import derived_id, headers
from schemas.events import (
    AnyEvent,
    Commented,
    Escalated,
    Reassigned,
    Reminded,
    RolledBack,
    WindowClosed,
    Withdrawn,
    written,
)
from schemas.money import format_minor
from schemas.outcomes import answering
from schemas.state import RequestState, Status
from schemas.view import request_view
from tables.record import Emission, Record

SOURCE = "athena/worker"


def emit(record: Record, emission: Emission, partition: int) -> tuple[list[Output], str]:
    """All outputs of a command that the record has applied, and the audit record's hash."""
    before = after = record.state_at(emission.version)
    event: AnyEvent | None = None
    if emission.code is None:
        event = record.events[emission.version - 1]
        before = record.state_at(emission.version - 1)
    return render(record.entity, emission, event, before, after, partition)


def render(
    entity: str,
    emission: Emission,
    event: AnyEvent | None,
    before: RequestState | None,
    after: RequestState | None,
    partition: int,
) -> tuple[list[Output], str]:
    """All outputs of a command that made `event` (None: it was refused) of the state `before`, and the audit record's hash."""
    request = None if after is None else orjson.dumps(request_view(after))
    audit, hash_ = _audit(entity, emission, event, before, after, request)
    outputs = [audit, outcome(emission, request, partition)]
    if event is not None and after is not None:
        outputs += _notifications(entity, emission, event, before, after)
    return outputs, hash_


def _audit(
    entity: str,
    emission: Emission,
    event: AnyEvent | None,
    before: RequestState | None,
    after: RequestState | None,
    request: bytes | None,
) -> tuple[Output, str]:
    personal: dict[str, str] = {}
    public: dict[str, Any] | None = None
    if event is not None:
        public = written(event)
        for name in event.PERSONAL:
            text = public.pop(name, None)
            if text is not None:
                personal[name] = text
    elif emission.comment is not None:
        personal["comment"] = emission.comment
    for name in ("source_address", "device_time"):
        if (value := getattr(emission, name)) is not None:
            personal[name] = value
    at = rfc3339(emission.at)
    chained = {
        "schema_version": SCHEMA_VERSION,
        "entity": entity,
        "seq": emission.seq,
        "request_id": emission.request_id,
        "version": None if event is None else emission.version,
        "command_id": emission.command_id,
        "actor_id": emission.actor_id,
        "actor_roles": emission.roles,
        "action": emission.action,
        "level": emission.level,
        "at": at,
        "outcome": "accepted" if event is not None else "refused",
        "code": emission.code,
        "status_before": None if before is None else before.status.value,
        "status_after": None if after is None else after.status.value,
        "correlation_id": emission.correlation_id,
        "content": None if public is None else content_hash(public),
        "commitments": commitments(emission.salt, personal),
        "prev_hash": emission.prev_hash,
    }
    hash_ = sha256_hex(canonical(chained))
    body = chained | {
        "hash": hash_,
        "event": public,
        "personal": personal,
        "salt": emission.salt if personal else None,
        "request": orjson.Fragment(request) if event is not None and request is not None else None,
    }
    found = headers(
        id_=derived_id(entity, emission.seq, "audit"),
        type_=f"athena.audit.{emission.action}",
        source=SOURCE,
        time=at,
        subject=entity,
        correlation_id=emission.correlation_id,
        traceparent=emission.traceparent,
    )
    return Output(topics.AUDIT, emission.request_id.encode(), orjson.dumps(body), found), hash_


def outcome(emission: Emission, request: bytes | None, partition: int, answers: int | None = None) -> Output:
    """The outcome of one command; `request` as JSON bytes. `answers`: offset of the record it is for, None for its own."""
    accepted = emission.code is None
    shown = accepted or emission.visible
    body = {
        "schema_version": SCHEMA_VERSION,
        "command_id": emission.command_id,
        "status": "accepted" if accepted else "refused",
        "code": emission.code,
        "detail": None if emission.code is None else DETAIL[Code(emission.code)],
        "request_id": emission.request_id,
        "version": (emission.version or None) if shown else None,
        "partition": partition,
        "offset": emission.offset,
        "request": orjson.Fragment(request) if request is not None and shown else None,
        "pointer": emission.pointer,
    }
    found = headers(
        id_=derived_id(emission.command_id, "outcome", emission.offset),
        type_="athena.outcome." + ("accepted" if accepted else "refused"),
        source=SOURCE,
        time=rfc3339(emission.at),
        subject=emission.command_id,
        correlation_id=emission.correlation_id,
        traceparent=emission.traceparent,
    )
    found.append(answering(emission.offset if answers is None else answers))
    return Output(topics.OUTCOMES, emission.request_id.encode(), orjson.dumps(body), found)


def _notifications(
    entity: str, emission: Emission, event: AnyEvent, before: RequestState | None, after: RequestState
) -> Iterator[Output]:
    event_id = derived_id(entity, emission.seq, "event")
    at = rfc3339(emission.at)
    params = orjson.Fragment(
        orjson.dumps(
            {
                "title": after.title or "",
                "category_id": after.category_id,
                "amount": _amount(after),
                "status": after.status.value,
                "actor_id": emission.actor_id,
            }
        )
    )
    key = after.id.encode()
    told = list(receivers(event, before, after))
    for template, user_id in (*told, *told_too(told, emission.stand_ins, after)):
        id_ = derived_id(entity, emission.seq, template, user_id)
        body = {
            "schema_version": SCHEMA_VERSION,
            "id": id_,
            "event_id": event_id,
            "request_id": after.id,
            "version": after.version,
            "template": template,
            "user_id": user_id,
            "at": at,
            "correlation_id": emission.correlation_id,
            "params": params,
        }
        found = headers(
            id_=id_,
            type_=f"athena.notification.{template}",
            source=SOURCE,
            time=at,
            subject=user_id,
            correlation_id=emission.correlation_id,
        )
        yield Output(topics.NOTIFICATIONS, key, orjson.dumps(body), found)


def _amount(state: RequestState) -> str:
    """The amount as a person reads it: `1250.00 EUR`."""
    return f"{format_minor(state.amount_minor, state.currency)} {state.currency}"


def receivers(event: AnyEvent, before: RequestState | None, after: RequestState) -> Iterator[tuple[str, str]]:
    """(template, user id) of everybody who is told of this event, each pair once, in a fixed order."""
    if before is None or before.open_index != after.open_index:
        yield from (("level-opened", user) for user in sorted(_tasks(after)))
    elif isinstance(event, Reassigned):
        yield from (("level-opened", user) for user in sorted(_tasks(after) - _tasks(before)))
    match event:
        case RolledBack():
            yield "rolled-back", after.requester_id
            yield from (("task-cancelled", user) for user in sorted(_tasks(before) - _tasks(after)))
        case Withdrawn():
            yield from (("withdrawn", user) for user in sorted(_tasks(before)))
        case Reassigned():
            yield from (("votes-dropped", user) for user in _gave(before, event))
            yield from (("task-cancelled", user) for user in sorted(_tasks(before) - _tasks(after) - {*event.dropped}))
        case Reminded():
            yield from (("reminder", user) for user in sorted(_tasks(after) - after.voters))
        case Escalated():
            yield from (("escalated", user) for user in sorted(_tasks(after) - _tasks(before) - after.voters))
        case WindowClosed():
            yield event.status, after.requester_id
        case Commented():
            asked = event.actor_id != after.requester_id
            yield from (("commented", user) for user in sorted({after.requester_id} if asked else _answered(after)))
        case _:
            pass
    if after.status is Status.APPROVED and (before is None or before.status is not Status.APPROVED):
        yield "approved", after.requester_id
    if after.status is Status.REJECTED and (before is None or before.status is not Status.REJECTED):
        yield "rejected", after.requester_id


def _answered(state: RequestState) -> set[str]:
    """Whom the requester answers: who has or had a part in the open level; when none is open, who decided last."""
    if state.open_level is not None:
        return {*state.open_level.deciders, *(one for vote in state.open_level.votes for one in vote.people)}
    newest = state.newest_decision
    return (
        set()
        if newest is None
        else {one for level, vote in state.standing if level == newest[0] for one in vote.people}
    )


def _gave(before: RequestState | None, event: Reassigned) -> Iterator[str]:
    """Whose vote it was that a reassignment dropped, and who had given it for them."""
    votes = {} if before is None else {vote.approver_id: vote for _, vote in before.standing}
    for user in event.dropped:
        yield from votes[user].people if user in votes else (user,)


def _tasks(state: RequestState | None) -> set[str]:
    """Who has an open task: all who may decide at the open level, less those who have voted at it."""
    if state is None or state.open_level is None:
        return set()
    voted = {vote.approver_id for vote in state.open_level.votes}
    return set(state.open_level.deciders) - voted
