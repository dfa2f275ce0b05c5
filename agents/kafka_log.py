"""The worker's `Log` on Kafka: one claimed identity, changelogs and outputs of one shard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from agents.fencing import FencedProducer, Line, Rows
from agents.ports import Output
from ops.kafka_clients import Kafka
from schemas.envelope import Headers

#: Key of the record that ends a changelog when a shard is claimed: recovery then ends at a record, not a control record.
FENCE_KEY = b"\x00fence"


class KafkaLog:
    """`changelogs` maps table names to topics; `outputs` are the topics a shard writes to besides. `everywhere` gives, for
    outputs that are not this shard's partition alone, how many partitions they have."""

    def __init__(
        self,
        kafka: Kafka,
        identity: str,
        partition: int,
        changelogs: Mapping[str, str],
        outputs: Sequence[str],
        everywhere: Mapping[str, int],
        line: Line,
    ) -> None:
        self.identity = identity
        self._partition = partition
        self._changelogs = dict(changelogs)
        self._outputs = tuple(outputs)
        self._everywhere = dict(everywhere)
        self._producer = FencedProducer(kafka, identity, line)

    async def claim(self) -> Mapping[str, int]:
        """See `agents.host_ports.ShardLog`."""
        owned = [(topic, self._partition) for topic in self._changelogs.values()]
        for topic in self._outputs:
            count = self._everywhere.get(topic)
            owned += [(topic, self._partition)] if count is None else [(topic, number) for number in range(count)]
        await self._producer.claim(owned)
        marker: Rows = [(FENCE_KEY, self.identity.encode(), [])]
        return {
            table: await self._producer.append(topic, self._partition, marker)
            for table, topic in self._changelogs.items()
        }

    async def write_tables(self, writes: Mapping[str, Mapping[bytes, bytes | None]]) -> Mapping[str, int]:
        """See `agents.ports.Log`."""
        sent = {}
        for table, found in writes.items():
            rows: list[tuple[bytes | None, bytes | None, Headers]] = [(key, value, []) for key, value in found.items()]
            sent[table] = await self._producer.send(self._changelogs[table], self._partition, rows)
        return {table: await self._producer.acknowledged(batches) for table, batches in sent.items()}

    async def write_outputs(self, outputs: Sequence[Output]) -> None:
        """See `agents.ports.Log`."""
        grouped: dict[tuple[str, int], list[tuple[bytes | None, bytes | None, Headers]]] = defaultdict(list)
        for output in outputs:
            partition = self._partition if output.partition is None else output.partition
            grouped[output.topic, partition].append((output.key, output.value, output.headers))
        sent = []
        for (topic, partition), rows in grouped.items():
            sent += await self._producer.send(topic, partition, rows)
        await self._producer.acknowledged(sent)

    async def stop(self) -> None:
        await self._producer.stop()
