"""What a record keeps of a command that was just decided."""

from __future__ import annotations

import hashlib

from agents.ports import Incoming
from agents.stand_ins import stand_ins
from rules.decide import Decision
from rules.parts import has_part
from schemas.catalog import Catalog
from schemas.commands import SYSTEM, CommandBase
from schemas.envelope import header
from schemas.events import action_of
from schemas.state import RequestState
from tables.record import Emission, Record, Refusal

#: Longest `traceparent` that is handed on, in characters; that of version 00 has 55.
MAX_TRACEPARENT = 128

ACTIONS = {
    "SubmitRequest": "submit",
    "Approve": "approve",
    "Reject": "reject",
    "Rollback": "rollback",
    "Withdraw": "withdraw",
    "Reassign": "reassign",
    "Comment": "comment",
    "CloseWindow": "close",
    "Remind": "remind",
    "Escalate": "escalate",
}


def derived_salt(command_id: str) -> str:
    """For a command that came without a salt: commits, but hides nothing from who can guess the text."""
    return hashlib.sha256(b"athena-salt:" + command_id.encode()).hexdigest()[:32]


def emission_of(
    target: Record,
    command: CommandBase,
    source: Incoming,
    decision: Decision,
    at: int,
    catalog: Catalog,
    after: RequestState | None,
) -> Emission:
    """The emission of a command as decided; `target` is the record of its chain, as it was before. `at` in ms; `after` is the
    request after an accepted command.
    """
    state, event = target.state, decision.event
    open_level = None if state is None or state.open_level is None else state.open_level.level
    # `vars` and not `getattr`: a model without the field would raise and catch an error each time.
    asked, told = vars(command), {} if event is None else vars(event)
    text = asked.get("comment") or asked.get("text")
    actor = command.actor_id
    return Emission(
        offset=source.offset,
        command_id=command.command_id,
        request_id=command.request_id,
        actor_id=actor,
        roles=_roles(actor, catalog),
        action=ACTIONS[type(command).__name__] if event is None else action_of(event),
        level=told.get("level", asked.get("level", open_level)),
        at=at,
        version=(0 if state is None else state.version) if event is None else event.version,
        code=None if decision.refusal is None else decision.refusal.value,
        pointer=decision.pointer,
        visible=event is not None
        or (state is not None and (has_part(state, actor, catalog, at) or _sees_all(actor, catalog))),
        seq=target.seq + 1,
        prev_hash=target.head,
        correlation_id=command.correlation_id,
        source_address=command.source_address,
        salt=command.salt or derived_salt(command.command_id),
        comment=None if event is not None else text,
        traceparent=_traceparent(source),
        device_time=command.device_time,
        stand_ins=None if event is None else stand_ins(state, after, catalog, at),
    )


def refusal_of(emission: Emission, hash_: str) -> Refusal:
    """What is remembered of a refused command; `hash_`: of its payload."""
    return Refusal(
        emission.command_id, hash_, emission.code or "", emission.pointer, emission.visible, emission.version,
        emission.offset, emission.request_id,
    )  # fmt: skip


def _roles(actor_id: str, catalog: Catalog) -> list[str]:
    if actor_id == SYSTEM:
        return ["system"]
    user = catalog.users.get(actor_id)
    return [] if user is None else list(user.roles)


def _sees_all(actor_id: str, catalog: Catalog) -> bool:
    return catalog.is_active(actor_id, "admin") or catalog.is_active(actor_id, "auditor")


def _traceparent(source: Incoming) -> str | None:
    found = header(source.headers, "traceparent")
    return found if found is not None and len(found) <= MAX_TRACEPARENT else None
