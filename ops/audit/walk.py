"""The walk along PostgreSQL's chains: every hash, every link, and that requests and their history are those of their chains."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson

from ops.audit import rows
from ops.audit.found import Broken, Report
from ops.audit.rows import Head, Row
from schemas.base import UUID_PATTERN

_REQUESTS = "SELECT id::text, version, status FROM requests.requests WHERE id = ANY($1::uuid[])"
_HISTORY = """
SELECT request_id::text AS id, version, status, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS at, actor_id,
       action, level, comment, on_behalf_of
FROM requests.history WHERE request_id = ANY($1::uuid[]) ORDER BY request_id, version"""
_WITHOUT_CHAIN = """
SELECT min('request:' || r.id) FROM (
  SELECT id::text FROM requests.requests UNION ALL SELECT request_id::text FROM requests.history
) r WHERE ($1::text IS NULL OR 'request:' || r.id = $1)
  AND NOT EXISTS (SELECT FROM audit.records a WHERE a.entity = 'request:' || r.id)"""
REQUEST = "request:"
#: What stands in the history as in the chain, besides the comment.
_SHOWN = ("version", "status", "at", "actor_id", "action", "level", "on_behalf_of")
#: A comment whose text was erased: the history's cannot be held against it.
_UNKNOWN = object()


@dataclass(slots=True)
class _Request:
    """What a request's chain says of it: its history, and up to which offset that was read."""

    seq: int = 0
    events: list[tuple[Any, ...]] = field(default_factory=list)
    #: (partition, offset) of the last record.
    last: tuple[int, int] = (0, 0)


class Walk:
    """Walks along the rows in the order of chains. `applied` is per partition the offset before which the read side is whole."""

    def __init__(self, report: Report, applied: dict[int, int]) -> None:
        self._report = report
        self._applied = applied
        self._entity: str | None = None
        self._head = Head()
        self._request = _Request()
        self._ended: dict[str, _Request] = {}

    def step(self, found: list[Row]) -> None:
        """Check the next rows. Raises Broken."""
        for row in found:
            if row["entity"] != self._entity:
                self.end()
                self._entity, self._head, self._request = row["entity"], Head(), _Request()
                self._report.chains += 1
            self._report.records += 1
            why = _why_not(row, self._head)
            if why is not None:
                raise Broken(row["entity"], row["seq"], f"PostgreSQL: {why}")
            self._head.seq, self._head.hash = row["seq"], row["hash"]
            self._note(row)

    def end(self) -> None:
        """The chain walked along has no more rows."""
        if self._entity is not None and self._entity.startswith(REQUEST):
            self._ended[self._entity.removeprefix(REQUEST)] = self._request

    def ended(self) -> dict[str, Any]:
        """The requests whose chains ended since the last call."""
        found, self._ended = self._ended, {}
        return found

    def compare(self, ended: dict[str, Any], requests: list[Row], history: list[Row]) -> None:
        """Hold requests and history against their chains. Raises Broken."""
        states = {row["id"]: (row["version"], row["status"]) for row in requests}
        kept: dict[str, list[Row]] = {}
        for row in history:
            kept.setdefault(row["id"], []).append(row)
        for id_, chain in ended.items():
            partition, offset = chain.last
            if offset >= self._applied.get(partition, 0):
                self._report.derived = False
                continue
            _compare(id_, chain, states.get(id_), kept.get(id_, []))

    def _note(self, row: Row) -> None:
        self._request.seq = row["seq"]
        self._request.last = (row["partition"], row["log_offset"])
        committed = orjson.loads(row["commitments"])
        if committed and row["personal"] is None:
            self._report.erased += 1
        if row["outcome"] == "accepted" and row["version"] is not None:
            comment = None
            if "comment" in committed:
                comment = _UNKNOWN if row["personal"] is None else orjson.loads(row["personal"]).get("comment")
            owner = orjson.loads(row["event"] or b"{}").get("on_behalf_of")
            event = (
                row["version"],
                row["status_after"],
                row["at"],
                row["actor_id"],
                row["action"],
                row["level"],
                owner,
            )
            self._request.events.append((row["seq"], comment, event))


def _why_not(row: Row, head: Head) -> str | None:
    try:
        return rows.why_not(rows.record_of(row), head)
    except (ValueError, TypeError) as error:
        return f"the row cannot be read: {type(error).__name__}: {error}"


def _compare(id_: str, chain: _Request, state: tuple[int, str] | None, history: list[Row]) -> None:
    """One request's row and history against its chain. Raises Broken."""
    name = REQUEST + id_
    for (seq, comment, event), row in zip(chain.events, history, strict=False):
        shown = tuple(row[column] for column in _SHOWN)
        if shown != event or (comment is not _UNKNOWN and row["comment"] != comment):
            raise Broken(name, seq, f"PostgreSQL: the history's version {row['version']} is not what this record says")
    last = chain.events[-1] if chain.events else None
    if len(history) > len(chain.events):
        version = history[len(chain.events)]["version"]
        raise Broken(name, chain.seq + 1, f"PostgreSQL: the chain ends before version {version}, which the history has")
    if len(history) < len(chain.events):
        seq, version = chain.events[len(history)][0], chain.events[len(history)][2][0]
        raise Broken(name, seq, f"PostgreSQL: the history lacks version {version}")
    versions = [event[2][0] for event in chain.events]
    if versions != list(range(1, len(versions) + 1)):
        raise Broken(name, chain.seq, "PostgreSQL: the versions are not 1 to n without gap")
    if last is not None and state != (last[2][0], last[2][1]):
        found = "is missing" if state is None else f"has version {state[0]}, {state[1]}"
        raise Broken(name, last[0], f"PostgreSQL: the request {found}; its chain ends at {last[2][0]}, {last[2][1]}")


async def walk(connection: Any, report: Report, applied: dict[int, int], entity: str | None, tick: Any) -> None:
    """Walk along all chains, or one. `tick(records)` is called after each step.

    Raises:
        Broken: the first record that is not as it must be, in the order of entities.
    """
    progress = Walk(report, applied)
    async for found in rows.batches(connection, rows.BY_CHAIN, entity):
        await asyncio.to_thread(progress.step, found)
        await _compare_ended(connection, progress)
        tick(len(found))
    progress.end()
    await _compare_ended(connection, progress)
    if report.derived:
        missing = await connection.fetchval(_WITHOUT_CHAIN, entity, timeout=rows.STATEMENT_TIME_OUT)
        if missing is not None:
            raise Broken(missing, 1, "PostgreSQL: the request has no audit chain")


async def _compare_ended(connection: Any, progress: Walk) -> None:
    ended = progress.ended()
    ids = [id_ for id_ in ended if UUID_PATTERN.fullmatch(id_)]
    if ended:
        requests = await rows.fetch(connection, _REQUESTS, ids)
        history = await rows.fetch(connection, _HISTORY, ids)
        progress.compare(ended, requests, history)
