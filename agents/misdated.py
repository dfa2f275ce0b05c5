"""Sets records aside whose append time a wrong clock has given."""

from __future__ import annotations

import structlog

from agents.dead_letters import dead_letter, failed_outcome
from agents.metrics import MISDATED
from agents.ports import Effects, Incoming, Shard
from agents.topology import OUTPUTS
from schemas import topics

log = structlog.get_logger(__name__)


class Misdated:
    """A shard that decides what is stamped up to `horizon` (ms); the rest becomes dead letters, to be replayed.

    What was decided earlier, while our clock was as wrong as the broker's, gives its outputs again: they may not be in the log.
    """

    def __init__(self, shard: Shard, horizon: int) -> None:
        self._shard = shard
        self._horizon = horizon

    def handle(self, record: Incoming, effects: Effects) -> None:
        """See `agents.ports.Shard`."""
        if record.timestamp <= self._horizon or self.decided(record, effects):
            self._shard.handle(record, effects)
            return
        text = (
            f"its append time {record.timestamp} lies beyond {self._horizon}, which later records prove to be in the future:"
            " the broker's clock was wrong when it came; replay it"
        )
        log.error("a record was stamped by a wrong clock; it is set aside", topic=record.topic, offset=record.offset)
        effects.outputs.append(dead_letter(record, text, None))
        if topics.OUTCOMES in OUTPUTS[record.topic]:
            failed = failed_outcome(record, record.partition)
            if failed is not None:
                effects.outputs.append(failed)
        MISDATED.labels(record.topic).inc()

    def decided(self, record: Incoming, effects: Effects) -> bool:
        """See `agents.ports.Shard`."""
        return self._shard.decided(record, effects)

    def settled(self, offset: int) -> None:
        """See `agents.ports.Shard`."""
        self._shard.settled(offset)
