"""What the real projector made of the stream, held against the stream: invariants 2, 3 and 7 of `quality.md`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson

from agents.projector.batch import Batch
from agents.projector.ports import judge
from ops.simulation.broker import Broker
from ops.simulation.database import MemoryDatabase
from ops.simulation.failure import holds
from ops.simulation.readside import ReadSide
from ops.simulation.shards import PARTITIONS
from ops.simulation.tables import COMPARED, Tables, groups
from ops.simulation.watch import Watch
from schemas import topics

#: Records of one batch when the stream is read again: none of the sizes that the projectors fetch.
_AGAIN = 7


class Mirror:
    """Looks at each commit as it is made, and at all of it in the end."""

    def __init__(self, broker: Broker, watch: Watch, database: MemoryDatabase) -> None:
        self._broker = broker
        self._watch = watch
        self._database = database
        self._lengths: dict[str, int] = {}
        self._versions: dict[str, int] = {}
        database.committed = self._committed

    def replaced(self) -> None:
        """The tables are others now: what follows is compared with these."""
        tables = self._database.tables
        self._versions = {id_: row[0] for id_, row in tables.requests.items()}
        self._lengths = dict(Counter(entity for entity, _ in tables.records))

    def _committed(self, before: dict[int, int], columns: list[list[Any]]) -> None:
        tables, told = self._database.tables, self._watch.read_side
        offsets, rows, _, requests, *_ = groups(columns)
        for partition, _, following in offsets:
            holds(following >= before[partition], "an applied offset went backwards", partition, before, following)
            end = self._broker.end(topics.AUDIT, partition)
            holds(following <= end, "the read side is ahead of the log", partition, following, end)
        for entity, seq in (row[:2] for row in rows):
            holds(seq <= len(told.chains.get(entity, ())), "the read side holds what the log does not", entity, seq)
            length = self._lengths.get(entity, 0)
            holds(seq <= length + 1, "the read side skipped a record", entity, length, seq)
            self._lengths[entity] = max(length, seq)
        for id_ in (row[0] for row in requests):
            version, document = tables.requests[id_][0], tables.requests[id_][7]
            holds(version >= self._versions.get(id_, 0), "a request went backwards in the read side", id_, version)
            view = orjson.dumps(told.views[id_][version - 1]).decode()
            holds(document == view, "the read side shows another document", id_, version, document, view)
            self._versions[id_] = version

    def check(self) -> None:
        """Faults have stopped, and everything was applied."""
        tables, told = self._database.tables, self._watch.read_side
        ends = {partition: self._broker.end(topics.AUDIT, partition) for partition in range(PARTITIONS)}
        holds(tables.offsets == ends, "the read side does not catch up", tables.offsets, ends)
        self._check_records(tables, told)
        self._check_requests(tables, told)
        self._check_commands(tables)
        again = self.read_again(ends)
        for name in COMPARED:
            holds(getattr(again, name) == getattr(tables, name), f"{name}: reading the stream again gives other bytes")

    def _check_records(self, tables: Tables, told: ReadSide) -> None:
        for entity, chain in told.chains.items():
            for seq, value in enumerate(chain, 1):
                row = tables.records.get((entity, seq))
                holds(row is not None, "the read side lacks a record", entity, seq)
                assert row is not None
                holds(row[19].encode() in value, "the read side holds another record", entity, seq)
        length = sum(map(len, told.chains.values()))
        holds(len(tables.records) == length, "the read side holds more than the stream", len(tables.records), length)

    def _check_requests(self, tables: Tables, told: ReadSide) -> None:
        shown = {id_: (row[0], row[1]) for id_, row in tables.requests.items()}
        said = {id_: (one.version, one.status) for id_, one in told.requests.items() if one.version}
        holds(shown == said, "the read side shows other requests", shown, said)
        history: dict[str, list[int]] = {}
        for id_, version in sorted(tables.history):
            history.setdefault(id_, []).append(version)
        gap = [id_ for id_, (version, _) in said.items() if history[id_] != list(range(1, version + 1))]
        holds(not gap, "a history has a gap", gap)
        votes = {(id_, level, actor): row[0] == "approve" for (id_, level, actor), row in tables.votes.items()}
        stand = {
            (one.id, vote.level, vote.owner): vote.approves for one in told.requests.values() for vote in one.votes
        }
        holds(votes == stand, "the read side shows other votes", votes, stand)
        waiting = {key for key, row in tables.participants.items() if row[1]}
        open_ = {
            (one.id, actor)
            for one in told.requests.values()
            if one.open_route is not None
            for actor in one.open_route.deciders
            - {vote.owner for vote in one.votes if vote.level == one.open_route.level}
        }
        holds(waiting == open_, "the read side shows other open tasks", waiting ^ open_)

    def _check_commands(self, tables: Tables) -> None:
        for id_, value in self._watch.outcomes.items():
            if id_ in self._watch.read_side.forgotten:
                continue
            outcome, row = orjson.loads(value), tables.commands.get(id_)
            holds(row is not None, "the read side does not know what became of a command", id_)
            assert row is not None
            holds(row[2:4] == (outcome["status"], outcome["code"]), "another outcome in the read side", row, outcome)

    def read_again(self, ends: dict[int, int]) -> Tables:
        """An empty read side after the stream up to these offsets."""
        made = Tables(offsets=dict.fromkeys(ends, 0))
        for partition, end in sorted(ends.items(), reverse=True):
            rows = self._broker.rows(topics.AUDIT, partition)
            for start in range(0, end, _AGAIN):
                batch = Batch()
                part = rows[start : min(start + _AGAIN, end)]
                batch.extend(partition, start, part, start + len(part))
                holds(judge(made.apply(batch.columns())).held, "the stream cannot be read again", partition, start)
        return made
