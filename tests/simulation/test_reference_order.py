"""Reference data as followers read it while a crashed shard gives its outputs again."""

from __future__ import annotations

import orjson

from agents.ports import Effects, Incoming
from agents.reference import CATALOG, ReferenceShard
from agents.topology import CHANGELOGS
from ops.simulation.organisation import fresh_broker, user_body
from ops.simulation.processes import Process
from ops.simulation.shards import PARTITIONS
from ops.simulation.stores import MemoryStore
from schemas import topics
from schemas.envelope import derived_id


def test_who_was_deactivated_does_not_come_back_while_outputs_are_repeated() -> None:
    """Somebody who was deactivated, as everybody had seen, could approve for a moment after a crash."""
    broker = fresh_broker()
    follower = Process("w", broker)
    follower.start()
    store = MemoryStore()
    store.recover(broker.rows(CHANGELOGS[CATALOG], 0))
    end = broker.end(topics.REFERENCE_COMMANDS, 0)
    batch = []
    for number, active in enumerate((True, False)):
        body = user_body("abe", active=active)
        fields = {
            "command_id": derived_id("edit", number),
            "actor_id": "adm",
            "correlation_id": derived_id("edit", number),
        }
        value = orjson.dumps({"type": "PutEntity", "entity_id": "abe", "body": body, **fields})
        batch.append(Incoming(topics.REFERENCE_COMMANDS, 0, end + number, broker.clock.now, b"abe", value, []))
    for life in range(2):
        shard = ReferenceShard(store, PARTITIONS, end, end + len(batch))
        effects = Effects()
        for record in batch:
            shard.handle(record, effects)
        store.apply(effects.rows(CATALOG), store.offset + 1)
        for output in effects.outputs:
            if output.topic == topics.REFERENCE:
                broker.append(output.topic, 0, output.key, output.value, output.headers)
                follower.follow(1)
                if life == 1:
                    assert not follower.catalog.is_active("abe", "manager")
    assert not follower.catalog.is_active("abe", "manager")
