"""Invariants 2, 3 and 6 for the worker's table, by its changelog."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from schemas.events import written
from schemas.state import RequestState
from tests.invariants.found import Found
from tests.invariants.log import Log, event_of


def check_table(log: Log, states: Mapping[str, RequestState], found: Found) -> None:
    """2, 3, 6 for the worker's table: the changelog's newest records against the audit stream."""
    for id_ in set(log.table) ^ set(states):
        found.wrong(3, f"request {id_} is in only one of the table and the audit stream")
    chains = log.chains()
    for id_, state in states.items():
        record = log.table.get(id_)
        if record is None:
            continue
        if record.state is None or record.state != state:
            found.wrong(3, f"request {id_}: the table's state is not what the audit stream gives")
        replayed = [written(event_of(one)) for one in chains[f"request:{id_}"] if one["outcome"] == "accepted"]
        if orjson.dumps([written(event) for event in record.events]) != orjson.dumps(replayed):
            found.wrong(3, f"request {id_}: the table's events are not the stream's, byte for byte")
        if [event.version for event in record.events] != list(range(1, state.version + 1)):
            found.wrong(2, f"request {id_}: the table's versions are not 1 to {state.version}")
        chain = chains[f"request:{id_}"]
        refusals = sum(1 for one in chain if one["outcome"] == "refused")
        if record.seq != state.version + refusals or record.head != chain[-1]["hash"]:
            found.wrong(6, f"request {id_}: the table's head of the chain is not the stream's")
