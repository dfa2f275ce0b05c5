"""The audit stream against the table, as it grows: replaying the one must give the other, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass, field

from ops.simulation.broker import Broker, Row
from ops.simulation.failure import holds
from ops.simulation.readside import ReadSide
from ops.simulation.shards import PARTITIONS
from schemas import topics
from schemas.events import EVENT_LIST, EVENT_TYPES, AnyEvent
from schemas.state import RequestState
from schemas.view import request_view
from tables.evolve import evolve
from tables.record import Record

#: A personal field that an audit record lacks was empty.
_EMPTY = {cls.__name__: dict.fromkeys(cls.PERSONAL) for cls in EVENT_TYPES}


@dataclass(slots=True)
class Told:
    """One request as far as the stream has told it; `seqs` are its events' places in the audit chain."""

    events: list[AnyEvent] = field(default_factory=list)
    states: list[RequestState] = field(default_factory=list)


class Replay:
    """Folds each accepted record of the stream once, when it is written."""

    def __init__(self, broker: Broker, read_side: ReadSide) -> None:
        self._broker = broker
        self._read_side = read_side
        self.told: dict[str, Told] = {}
        broker.watchers.append(self._look)

    def _look(self, topic: str, partition: int, row: Row) -> None:
        """After `Watch`, which has taken the record into the read side."""
        if topic != topics.AUDIT or row.key is None:
            return
        request_id = row.key.decode()
        raw = self._read_side.events.get(request_id)
        if raw is None:
            return
        told = self.told.setdefault(request_id, Told())
        for one in raw[len(told.events) :]:
            (event,) = EVENT_LIST.validate_python([_EMPTY[one["type"]] | one])
            before = told.states[-1] if told.states else None
            state = evolve(before, event, request_id)
            told.events.append(event)
            told.states.append(state)
            view = self._read_side.views[request_id][len(told.events) - 1]
            holds(request_view(state) == view, "an audit record shows another request", request_id, event.version)
            self._check_table(partition, request_id, told)

    def _check_table(self, partition: int, request_id: str, told: Told) -> None:
        """The table was written before its output, so it has at least what the stream tells."""
        data = self._broker.latest[topics.REQUESTS_CHANGELOG, partition].get(request_id.encode())
        holds(data is not None, "the audit stream is ahead of the table", request_id)
        assert data is not None
        held = self._decode(data).events
        count = len(told.events)
        holds(count <= len(held), "the audit stream is ahead of the table", request_id, count, len(held))
        holds(held[count - 1] == told.events[-1], "the audit stream tells another story", request_id, count)

    def _decode(self, data: bytes) -> Record:
        if data is not self._data:
            self._data, self._record = data, Record.decode(data)
        return self._record

    _data: bytes = b""
    _record: Record

    def check_complete(self) -> None:
        """Everything has run: stream and table are the same, and every chain is whole."""
        held = 0
        for partition in range(PARTITIONS):
            for key, data in self._broker.latest[topics.REQUESTS_CHANGELOG, partition].items():
                if key.startswith(b"\x00") or data is None:
                    continue
                held += 1
                self._check_request(key.decode(), Record.decode(data))
        requests = self._read_side.requests
        holds(held == len(requests), "a request is in the audit stream or the table alone", held, len(requests))

    def _check_request(self, request_id: str, record: Record) -> None:
        told, read_side = self.told.get(request_id, Told()), self._read_side
        holds(told.events == list(record.events), "the audit stream tells another story", request_id)
        state = told.states[-1] if told.states else None
        holds(state == record.state, "replaying the audit stream gives another state", state, record.state)
        length = len(read_side.chains.get(record.entity, []))
        refused = read_side.refused.get(request_id, 0)
        holds(record.seq == length, "the audit chain ends before the table's", request_id, record.seq, length)
        holds(record.head == read_side.heads[record.entity], "the audit chain ends with another hash", request_id)
        holds(length == len(record.events) + refused, "chain length is not versions plus refusals", request_id, length)
        made = [event.command_id for event in record.events]
        holds(list(record.made) == made, "commands that made events", request_id)
