"""Which tables and outputs each kind of shard has: as in `agents.host`, without its Kafka."""

from __future__ import annotations

from collections.abc import Mapping

from agents.reference import CATALOG
from agents.requests import CHAINS, REQUESTS, WINDOWS
from agents.security import SESSIONS
from schemas import topics

#: Partitions of every partitioned topic in a run: few, so that requests share them.
PARTITIONS = 2

ShardKey = tuple[str, int]

TABLES: Mapping[str, tuple[str, ...]] = {
    topics.COMMANDS: (CHAINS, REQUESTS, WINDOWS),
    topics.SECURITY: (SESSIONS,),
    topics.REFERENCE_COMMANDS: (CATALOG,),
}
CHANGELOGS: Mapping[str, str] = {
    CHAINS: topics.CHAINS_CHANGELOG,
    REQUESTS: topics.REQUESTS_CHANGELOG,
    WINDOWS: topics.WINDOWS_CHANGELOG,
    SESSIONS: topics.SESSIONS_CHANGELOG,
    CATALOG: topics.CATALOG_CHANGELOG,
}
OUTPUTS: Mapping[str, tuple[str, ...]] = {
    topics.COMMANDS: (topics.AUDIT, topics.OUTCOMES, topics.NOTIFICATIONS, topics.DEAD_LETTERS),
    topics.SECURITY: (topics.AUDIT, topics.DEAD_LETTERS),
    topics.REFERENCE_COMMANDS: (topics.REFERENCE, topics.AUDIT, topics.OUTCOMES, topics.DEAD_LETTERS),
}
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
