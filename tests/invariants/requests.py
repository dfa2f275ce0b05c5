"""Invariants 2, 4, 5, 6 and 8: what the audit stream says of each request."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.audit import GENESIS, chain_hash, commitment, content_hash
from schemas.deadlines import escalating, next_due, reminding
from schemas.events import AnyEvent, Approved, Escalated, Rejected, Reminded, RolledBack, Submitted, WindowClosed
from schemas.state import RequestState
from schemas.view import request_view
from tables.evolve import evolve
from tests.invariants.found import Found
from tests.invariants.log import Log, event_of

#: Seconds after its deadline in which the sweep must have closed a window.
SWEEP_GRACE = 15.0
PENDING_OF = {"L1": "pending_l1", "L2": "pending_l2", "L3": "pending_l3"}


def replay(log: Log, found: Found) -> dict[str, RequestState]:
    """2, 4, 5, 8 for every request, from the audit stream alone; returns the state that each ends in."""
    states: dict[str, RequestState] = {}
    for entity, chain in log.chains().items():
        if not entity.startswith("request:"):
            continue
        id_ = entity.removeprefix("request:")
        state: RequestState | None = None
        for record in chain:
            if record["outcome"] == "refused":
                continue
            event = event_of(record)
            expected = 1 if state is None else state.version + 1
            if event.version != expected or record["version"] != expected:
                found.wrong(
                    2, f"{entity}: expected version {expected}, found {event.version} (record {record['version']})"
                )
                break
            _check_event(entity, state, event, log.reference, found)
            state = evolve(state, event, id_)
            if record["request"] != request_view(state):
                found.wrong(3, f"{entity} version {event.version}: the record's request is not what the events give")
        if state is not None:
            states[id_] = state
    return states


def _check_event(entity: str, state: RequestState | None, event: AnyEvent, reference: set[str], found: Found) -> None:
    where = f"{entity} version {event.version} ({event.type})"
    if isinstance(event, Submitted):
        needed = {f"rules:{event.rules_version}", f"category:{event.category_id}", f"reason:{event.reason_id}"}
        needed |= {f"department:{event.department_id}", f"user:{event.actor_id}"}
        needed |= {f"user:{user}" for level in event.levels for user in level.approvers}
        if missing := needed - reference:
            found.wrong(8, f"{where} pins {sorted(missing)}, which the reference data does not have")
        return
    if state is None:
        found.wrong(2, f"{where} is the first event of its request")
        return
    if event.at < state.updated_at:
        found.wrong(5, f"{where} lies before the event before it")
    if isinstance(event, Approved | Rejected):
        level, owner = state.open_level, event.on_behalf_of or event.actor_id
        if level is None or state.status.value != PENDING_OF[level.level]:
            found.wrong(5, f"{where} on a request that is {state.status.value}")
        elif event.level != level.level or owner not in level.deciders:
            found.wrong(4, f"{where}: {owner} is not in the pool of {level.level}")
        if state.requester_id in (event.actor_id, owner):
            found.wrong(4, f"{where}: decided by its requester")
        if not state.voters.isdisjoint((event.actor_id, owner)):
            found.wrong(4, f"{where}: {event.actor_id}, for {owner}, had voted before")
    newest = state.newest_decision
    if isinstance(event, RolledBack):
        if newest is None or newest[1].given_by != event.actor_id:
            found.wrong(5, f"{where}: not the newest decision of {event.actor_id}")
        elif not newest[1].at <= event.at < newest[1].at + state.window_ms:
            found.wrong(5, f"{where}: rolled back outside its window")
    if isinstance(event, WindowClosed) and (state.closes_at is None or event.at < state.closes_at):
        found.wrong(5, f"{where}: closed before its time")
    for kind, due in ((Reminded, reminding(state)), (Escalated, escalating(state))):
        if isinstance(event, kind) and (due is None or event.at < due.at or event.opened_version != due.version):
            found.wrong(5, f"{where}: not due")


def check_chains(log: Log, found: Found) -> None:
    """6: every chain is whole, its hashes and commitments right, its length the versions plus the refusals."""
    for entity, chain in log.chains().items():
        found.chains += 1
        found.records += len(chain)
        before = GENESIS
        for expected, record in enumerate(chain, start=1):
            if record["seq"] != expected:
                found.wrong(6, f"{entity}: expected seq {expected}, found {record['seq']}")
                break
            if record["prev_hash"] != before or record["hash"] != chain_hash(record):
                found.wrong(6, f"{entity}: the chain breaks at seq {expected}")
            for name, text in record["personal"].items():
                if record["commitments"].get(name) != commitment(record["salt"], name, text):
                    found.wrong(6, f"{entity}: seq {expected} does not hold to its {name}")
            if record["event"] is not None and record["content"] != content_hash(record["event"]):
                found.wrong(6, f"{entity}: the event of seq {expected} is not what was hashed")
            before = record["hash"]


def check_windows(states: Mapping[str, RequestState], now_ms: int, found: Found) -> None:
    """5: no window is left open after its time, nobody waits without a reminder or an escalation."""
    for id_, state in states.items():
        due = next_due(state)
        if due is not None and due.at + SWEEP_GRACE * 1000 < now_ms:
            found.wrong(5, f"request {id_}: {due.kind} was due {(now_ms - due.at) / 1000:.0f} s ago")
