"""What a command that was applied before gives when it comes again: from its record, nothing is decided."""

from __future__ import annotations

import orjson

from agents.outputs import emit, outcome
from agents.ports import Incoming, Output
from schemas.codes import Code
from schemas.commands import CommandBase
from schemas.view import request_view
from tables.record import Emission, Record


def repeat(known: Record, command: CommandBase, hash_: str, source: Incoming, partition: int) -> list[Output] | None:
    """The outputs that `source` gives again; None if the record does not know its command. `hash_`: of the payload."""
    for emission in known.emissions if source.offset <= known.offset else ():
        if emission.offset == source.offset and emission.command_id == command.command_id:
            return links_before(known, emission, partition) + emit(known, emission, partition)[0]
    if known_hash(known, command.command_id) == hash_:
        return [_outcome_again(known, command, source, partition)]
    return None


def known_hash(known: Record, command_id: str) -> str | None:
    """Hash of the payload with which the command was applied; None for one that is not remembered."""
    if command_id in known.made:
        return known.made[command_id][0]
    refusal = known.refusals.get(command_id)
    return None if refusal is None else refusal.payload_hash


def links_before(record: Record, emission: Emission, partition: int) -> list[Output]:
    """Outputs of links that come before this one in the partition's chain but after it in the log: a batch was torn between
    the tables, and what was accepted then is refused now. They may not be visible yet, and a chain is written in order.
    """
    if record.offset <= emission.offset:
        return []
    late = [one for one in record.emissions if one.offset > emission.offset and one.seq < emission.seq]
    return [output for one in late for output in emit(record, one, partition)[0]]


def _outcome_again(known: Record, command: CommandBase, source: Incoming, partition: int) -> Output:
    for emission in known.emissions:
        if emission.command_id == command.command_id and emission.code != Code.IDEMPOTENCY_KEY_REUSED:
            return outcome(emission, _request_json(known, emission.version), partition, source.offset)
    code, pointer, visible = None, None, True
    if command.command_id in known.made:
        _, version, offset = known.made[command.command_id]
        at = known.events[version - 1].at
    else:
        refusal = known.refusals[command.command_id]
        code, pointer, visible = refusal.code, refusal.pointer, refusal.visible
        version, offset = refusal.version, refusal.offset
        at = source.timestamp
    emission = Emission(
        offset, command.command_id, command.request_id, command.actor_id, [], "", None, at, version, code, pointer,
        visible, 0, "", command.correlation_id, None, "", None, None,
    )  # fmt: skip
    return outcome(emission, _request_json(known, version), partition, source.offset)


def _request_json(known: Record, version: int) -> bytes | None:
    state = known.state_at(version)
    return None if state is None else orjson.dumps(request_view(state))
