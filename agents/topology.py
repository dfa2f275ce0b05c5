"""Which tables a shard has, which changelogs keep them, and which topics it writes to: one place for worker and simulator."""

from __future__ import annotations

from collections.abc import Mapping

from agents.reference import CATALOG
from agents.requests import CHAINS, REQUESTS, WINDOWS
from agents.security import SESSIONS
from schemas import topics

#: The tables of each source topic, in the order in which a batch writes them.
TABLES: Mapping[str, tuple[str, ...]] = {
    topics.COMMANDS: (CHAINS, REQUESTS, WINDOWS),
    topics.SECURITY: (SESSIONS,),
    topics.REFERENCE_COMMANDS: (CATALOG,),
}
#: Tables that say nothing by themselves: an entry that its record does not confirm is passed over, one that is missing is found
#: when the index is rebuilt, at each assignment. They are written with the table before them.
INDEXES = frozenset({WINDOWS})
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
