"""Nobody waits for somebody who left. Told from audit records and reference data alone, without the code that decides it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from ops.simulation.broker import Broker
from ops.simulation.failure import holds
from ops.simulation.ledger import Ledger, Route
from ops.simulation.readside import ReadSide
from schemas import topics


class Staffed:
    """Reference data as the topic has it now."""

    def __init__(self, broker: Broker) -> None:
        latest: dict[bytes, dict[str, Any]] = {}
        for row in broker.rows(topics.REFERENCE, 0):
            assert row.key is not None
            if row.value is None:
                latest.pop(row.key, None)
            else:
                latest[row.key] = orjson.loads(row.value)
        found = latest.values()
        self._managers = {
            one["id"] for one in found if one["kind"] == "user" and one["active"] and "manager" in one["roles"]
        }
        self._assignments = [one for one in found if one["kind"] == "assignment"]

    def wrong(self, read_side: ReadSide) -> Iterator[tuple[str, object]]:
        """Each open request that waits for somebody who left, or that could be staffed by now: what is wrong, and where."""
        for ledger in read_side.requests.values():
            if ledger.open is None:
                continue
            for route in ledger.route[ledger.open :]:
                gone = route.pool - self._managers
                if gone and not route.unstaffed:
                    yield "a request waits for somebody who left", (ledger.id, route, gone)
            last = ledger.route[ledger.open]
            if last is ledger.route[-1] and last.unstaffed and self._suffices(ledger, last):
                yield "a request waits although others could decide it", (ledger.id, last)

    def _suffices(self, ledger: Ledger, route: Route) -> bool:
        """Whether the assignments of today could end this level, the last one of its request."""
        named = [
            one
            for one in self._assignments
            if one["category_id"] == ledger.category and one["level"] == route.level
            if one["region"] in (None, ledger.region)
        ]
        special = [one for one in named if one["region"] is not None]
        pool = {one["approver_id"] for one in special or named} & self._managers - {ledger.requester}
        stay = pool | (route.escalated or set())
        kept = [vote for vote in ledger.votes if vote.level == route.level and vote.owner in stay]
        elsewhere = [vote for vote in ledger.votes if vote.level != route.level]
        used = set().union(*(vote.people for vote in (*kept, *elsewhere)))
        needed = len(pool) if route.rule == "all" else route.quorum
        return bool(pool) and len(pool - used) >= needed - len(kept)


def check_staffed(broker: Broker, read_side: ReadSide) -> None:
    """`Broken` for the first request that waits for somebody who left."""
    for what, where in Staffed(broker).wrong(read_side):
        holds(False, what, where)
