"""Records that nobody can process."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import orjson

from ops.simulation.broker import Broker
from ops.simulation.shards import partition_of
from ops.simulation.watch import Watch
from schemas import topics


def send_poison(broker: Broker, watch: Watch, rng: random.Random, new_id: Callable[[], str]) -> str:
    """Append one bad record to the commands topic; its kind."""
    request_id = new_id()
    good: dict[str, Any] = {
        "type": "Approve",
        "command_id": new_id(),
        "request_id": request_id,
        "actor_id": "abe",
        "correlation_id": new_id(),
    }
    kinds: dict[str, tuple[bytes | None, bytes | None]] = {
        "garbage": (request_id.encode(), rng.randbytes(20)),
        "no value": (request_id.encode(), None),
        "truncated": (request_id.encode(), orjson.dumps(good)[: rng.randint(1, 60)]),
        "unknown type": (request_id.encode(), orjson.dumps(good | {"type": "Explode"})),
        "wrong key": (b"another", orjson.dumps(good)),
        "beyond the reference": (request_id.encode(), orjson.dumps(good | {"reference_offset": 10**9})),
    }
    kind = rng.choice(list(kinds))
    partition = partition_of(request_id)
    watch.poison.add((topics.COMMANDS, partition, broker.end(topics.COMMANDS, partition)))
    broker.append(topics.COMMANDS, partition, *kinds[kind], [])
    return kind
