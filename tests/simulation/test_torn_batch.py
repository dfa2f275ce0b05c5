"""A batch that a crash tore between two tables, decided again with other reference data."""

from __future__ import annotations

import orjson

from agents.ports import Effects, Incoming
from agents.requests import CHAINS, REQUESTS, WINDOWS, RequestShard
from ops.simulation.organisation import fresh_broker, rules_in_force, user_body
from ops.simulation.processes import Process
from ops.simulation.readside import ReadSide
from ops.simulation.stores import MemoryStore
from schemas import topics
from schemas.envelope import derived_id
from schemas.reference import User

CONTENT = {"category_id": "travel", "reason_id": "any", "title": "a", "amount": "50.00", "currency": "EUR"}


def _record(offset: int, kind: str, actor: str, **fields: str) -> Incoming:
    request_id, command_id = derived_id("request", offset), derived_id("command", offset)
    body = {
        "type": kind,
        "command_id": command_id,
        "request_id": request_id,
        "actor_id": actor,
        "correlation_id": command_id,
    }
    return Incoming(topics.COMMANDS, 0, offset, 1_800_000_000_000, request_id.encode(), orjson.dumps(body | fields), [])


def test_the_chain_of_a_partition_is_written_in_order_after_a_torn_batch() -> None:
    """The projector would stop for ever at a gap in the chain, and nobody would see a request again."""
    process = Process("w", fresh_broker())
    process.start()
    stores = {name: MemoryStore() for name in (CHAINS, REQUESTS, WINDOWS)}
    batch = [_record(0, "SubmitRequest", "sam", **CONTENT), _record(1, "Approve", "abe"), _record(2, "Approve", "bea")]

    def decide() -> Effects:
        effects = Effects()
        shard = RequestShard(
            0, stores, process.catalog, lambda: rules_in_force(process.catalog), 0, len(batch), lambda _: False
        )
        for record in batch:
            shard.handle(record, effects)
        return effects

    # The chain's table was written, the requests' was not, and no output: then the requester lost the role.
    stores[CHAINS].apply(decide().rows(CHAINS), 0)
    process.catalog.put(User(id="sam", version=2, **user_body("sam", active=False)))
    again = decide()
    third = Effects()
    for life in (again, third):
        read_side = ReadSide()
        if life is third:
            # Written whole this time, yet no output: the next life gives them all from the table.
            stores[CHAINS].apply(again.rows(CHAINS), 1)
            life.outputs += decide().outputs
        for output in life.outputs:
            if output.topic == topics.AUDIT:
                assert output.value is not None
                read_side.apply(output.value)
        assert len(read_side.chains["partition:0"]) == 3
