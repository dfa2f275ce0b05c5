"""The read side's tables in memory: what `agents/projector/apply.sql` does with a batch, and nothing else.

`tests/integration/test_memory_tables.py` holds it against PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

Row = tuple[Any, ...]
#: Widths of the statement's parameter groups, in its order.
WIDTHS = (3, 27, 3, 12, 4, 6, 6, 7, 9, 2, 4)
#: Tables that a rebuild makes anew; `records` and `personal` hold facts, and stay.
DERIVED = ("history", "requests", "participants", "votes", "commands", "entities")
COMPARED = ("records", "personal", *DERIVED)


@dataclass(slots=True)
class Tables:
    """Keys are the primary keys; `requests` rows are (version, status, requester, category, department, created, updated,
    document, partition, offset), `participants` (created, waiting, decided, left_by, partition, offset)."""

    offsets: dict[int, int] = field(default_factory=dict)
    records: dict[tuple[str, int], Row] = field(default_factory=dict)
    personal: dict[tuple[str, int], Row] = field(default_factory=dict)
    history: dict[tuple[str, int], Row] = field(default_factory=dict)
    requests: dict[str, Row] = field(default_factory=dict)
    participants: dict[tuple[str, str], Row] = field(default_factory=dict)
    votes: dict[tuple[str, str, str], Row] = field(default_factory=dict)
    commands: dict[str, Row] = field(default_factory=dict)
    entities: dict[tuple[str, str], Row] = field(default_factory=dict)

    def copy(self) -> Tables:
        """As it is now."""
        return Tables(**{name: dict(getattr(self, name)) for name in ("offsets", *COMPARED)})

    def swap(self, made: Tables) -> None:
        """The end of `athena projector rebuild`: what is derived is replaced, with the offsets; facts are compared, and stay."""
        for name in ("offsets", *DERIVED):
            setattr(self, name, getattr(made, name))
        for name in ("records", "personal"):
            getattr(self, name).update(getattr(made, name))

    def apply(self, columns: list[list[Any]]) -> dict[str, Any]:
        """The statement: writes all or nothing, and answers why not."""
        offsets, rows, chains, requests, participants, votes, commands, entities, events, placed, concerned = groups(
            columns
        )
        participants = [(*one, *place) for one, place in zip(participants, concerned, strict=True)]
        verdict = {
            "held": self.held(offsets),
            "differs": next((f"{one[0]} seq {one[1]}" for one in rows if self._differs(one)), None),
            "chain_gap": next(
                (f"{name} seq {seq + 1}" for name, seq, hash_ in chains if self._gap(name, seq, hash_)), None
            ),
            "version_gap": next(
                (f"{one[0]} version {one[1] + 1}" for one in requests if one[1] > self.version(one[0])), None
            ),
        }
        if verdict["held"] and verdict["differs"] is verdict["chain_gap"] is verdict["version_gap"] is None:
            self._write_entities(entities)
            self._write_concerns(events)
            self._write_requests(requests, placed, participants, votes)
            self._write_records(rows)
            self._write_commands(commands)
            self.offsets.update({partition: following for partition, _, following in offsets})
        return verdict

    def held(self, offsets: list[Row]) -> bool:
        return all(self.offsets.get(partition) == start for partition, start, _ in offsets)

    def version(self, request_id: str) -> int:
        """The version of a request, 0 where there is none."""
        found = self.requests.get(request_id)
        return 0 if found is None else int(found[0])

    def _differs(self, row: Row) -> bool:
        known = self.records.get(row[:2])
        if known is None:
            return False
        facts = self.personal.get(row[:2])
        return known[19:22] != row[19:22] or (facts is not None and facts != (row[23], row[24]))

    def _gap(self, entity: str, seq: int, hash_: str) -> bool:
        known = self.records.get((entity, seq))
        return known is None or known[19] != hash_

    def _write_records(self, rows: list[Row]) -> None:
        for row in rows:
            key = row[:2]
            self.records.setdefault(key, row[:23])
            if row[24] is not None:
                self.personal.setdefault(key, (row[23], row[24]))
            if row[26]:
                self.history.setdefault((row[3], row[4]), (*(row[at] for at in (14, 10, 6, 8, 9, 25)), _owner(row)))

    def _write_concerns(self, events: list[Row]) -> None:
        """Before the requests: what is new to them is told by the versions before this batch."""
        for (id_, approver), row in list(self.participants.items()) if events else ():
            created, waits, decided, left_by, place, offset = row
            current = self.version(id_)
            for request_id, _, partition, version, at, action, before, waiting, voters in events:
                if request_id != id_ or version <= current:
                    continue
                waited = waits if version == current + 1 else approver in (before or "").split(",")
                waits, decided = approver in waiting.split(","), decided or approver in voters.split(",")
                if waited and not waits:
                    left_by, place, offset = action, partition, at
                if waits or decided:
                    left_by, place, offset = None if waits else left_by, partition, at
            self.participants[id_, approver] = (created, waits, decided, left_by, place, offset)

    def _write_requests(
        self, requests: list[Row], placed: list[Row], participants: list[Row], votes: list[Row]
    ) -> None:
        before = {one[0]: self.version(one[0]) for one in requests}
        for (id_, _, version, *rest, _waiting, standing), place in zip(requests, placed, strict=True):
            current = before[id_]
            if not self.newer(version, current):
                continue
            self.requests[id_] = (version, *rest, *place)
            if current == 0:
                continue
            if standing is not None:
                kept = standing.split(",")
                for key in [key for key in self.votes if key[0] == id_ and f"{key[1]}:{key[2]}" not in kept]:
                    del self.votes[key]
        for id_, approver, created, waits, partition, offset, decided, left_by in participants:
            self.participants.setdefault((id_, approver), (created, waits, decided, left_by, partition, offset))
        for id_, level, approver, decision, at, version in votes:
            known = self.votes.get((id_, level, approver))
            if version > before.get(id_, 0) and (known is None or version > known[2]):
                self.votes[id_, level, approver] = (decision, at, version)

    @staticmethod
    def newer(version: int, current: int) -> bool:
        return version > current

    def _write_commands(self, commands: list[Row]) -> None:
        for id_, actor, request_id, outcome, code, version in commands:
            known = self.commands.get(id_)
            if known is None or (outcome, request_id or "") < (known[2], known[1] or ""):
                self.commands[id_] = (actor, request_id, outcome, code, version)

    def _write_entities(self, entities: list[Row]) -> None:
        for chain, seq, offset, kind, id_, version, document in entities:
            known = self.records.get((chain, seq))
            if known is not None and known[22] < offset:
                continue
            if document is None:
                self.entities.pop((kind, id_), None)
            else:
                self.entities[kind, id_] = (version, document)


def _owner(row: Row) -> str | None:
    """Whose vote a delegate gave."""
    owner: str | None = orjson.loads(row[20]).get("on_behalf_of") if row[8] in ("approve", "reject") else None
    return owner


def groups(columns: list[list[Any]]) -> Iterator[list[Row]]:
    """The rows of each parameter group."""
    start = 0
    for width in WIDTHS:
        yield list(zip(*columns[start : start + width], strict=True))
        start += width
