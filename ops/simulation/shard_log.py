"""A shard's writer identity on the in-memory log, suspending wherever the real one waits for the broker."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence

from agents.ports import Output
from agents.topology import CHANGELOGS, TABLES
from ops.simulation.broker import Broker, Writer
from ops.simulation.shards import ShardKey, output_places
from ops.simulation.stepping import step
from ops.simulation.stores import FENCE

CHANGELOG_ACK, OUTPUT_ACK = "changelog ack", "output ack"


class SimulatedLog:
    """See `agents.ports.Log`."""

    def __init__(self, broker: Broker, key: ShardKey, rng: random.Random) -> None:
        self._broker = broker
        self._key = key
        self._rng = rng
        self._writer: Writer | None = None

    async def claim(self) -> None:
        """Take the next epoch and write a marker wherever this shard writes: each shuts older owners out there."""
        topic, partition = self._key
        self._writer = self._broker.new_epoch(f"{topic}-{partition}")
        await step("claim")
        for place in output_places(self._key):
            self._broker.admit(self._writer, *place)
        await step("claim")
        for table in TABLES[topic]:
            self._broker.append(CHANGELOGS[table], partition, FENCE, b"marker", [], self._writer)

    async def write_tables(self, writes: Mapping[str, Mapping[bytes, bytes | None]]) -> Mapping[str, int]:
        """In any order: a crash may fall between any two of them."""
        tables = list(writes)
        self._rng.shuffle(tables)
        return {table: await self._write(table, writes[table]) for table in tables}

    async def _write(self, table: str, writes: Mapping[bytes, bytes | None]) -> int:
        topic, partition = CHANGELOGS[table], self._key[1]
        offset = -1
        await step("changelog append")
        for key, value in writes.items():
            # A batch is not atomic: what precedes a crash is there, the rest is not.
            if offset >= 0 and self._rng.random() < 0.3:
                await step("changelog append")
            offset = self._broker.append(topic, partition, key, value, [], self._writer)
        await step(CHANGELOG_ACK)
        return offset

    async def write_outputs(self, outputs: Sequence[Output]) -> None:
        waiting: dict[tuple[str, int], list[Output]] = defaultdict(list)
        for output in outputs:
            partition = self._key[1] if output.partition is None else output.partition
            waiting[output.topic, partition].append(output)
        await step("output append")
        # In order within a partition; between partitions in any.
        while waiting:
            place = self._rng.choice(list(waiting))
            queue = waiting[place]
            count = self._rng.randint(1, len(queue))
            for output in queue[:count]:
                self._broker.append(*place, output.key, output.value, output.headers, self._writer)
            del queue[:count]
            if not queue:
                del waiting[place]
            await step(OUTPUT_ACK)
