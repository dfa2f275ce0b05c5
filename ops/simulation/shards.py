"""The shards of a run, and every place that one of them writes to."""

from __future__ import annotations

from agents.topology import OUTPUTS
from schemas import topics

#: Partitions of every partitioned topic in a run: few, so that requests share them.
PARTITIONS = 2

ShardKey = tuple[str, int]

SHARDS: tuple[ShardKey, ...] = (
    (topics.REFERENCE_COMMANDS, 0),
    *((topics.COMMANDS, number) for number in range(PARTITIONS)),
    *((topics.SECURITY, number) for number in range(PARTITIONS)),
)


def output_places(key: ShardKey) -> list[tuple[str, int]]:
    """Every partition that a shard's outputs can go to."""
    topic, partition = key
    places: list[tuple[str, int]] = []
    for output in OUTPUTS[topic]:
        everywhere = topic == topics.REFERENCE_COMMANDS and output in (topics.AUDIT, topics.OUTCOMES)
        places += [(output, number) for number in range(PARTITIONS)] if everywhere else [(output, partition)]
    return places


def partition_of(request_id: str) -> int:
    """Where a request's commands go. Any stable spread will do here."""
    return int(request_id[0], 16) % PARTITIONS
