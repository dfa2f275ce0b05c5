"""The log of one partition beside PostgreSQL's rows of it, both in the order of offsets: one pass, in bounded memory."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import orjson

from ops.audit import rows
from ops.audit.found import Broken, Report, place
from ops.audit.rows import Head, Row
from ops.audit.source import LogRecord
from ops.audit.walk import REQUEST
from ops.audit.witness import Witness
from ops.stack.errors import StackError
from schemas import topics
from schemas.base import UUID_PATTERN

FENCE = "athena.fence"
#: Records whose bytes are remembered, so that a repeat of one can be compared: a crash repeats a batch or two.
REMEMBERED = 20_000
#: Chains that may grow in the log while PostgreSQL lags; with more, the projector has to catch up first.
WAITING_CHAINS = 100_000

_NEWEST = """
SELECT r.id::text, r.version, r.status, r.requester_id, r.category_id, r.department_id, r.document,
       to_char(r.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS created_at,
       to_char(r.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS updated_at,
       (r.partition, r.log_offset) = (a.partition, a.log_offset) AS placed
FROM requests.requests r
  JOIN unnest($1::uuid[], $2::int[], $3::bigint[]) AS w(id, version, seq) ON r.id = w.id AND r.version = w.version
  JOIN audit.records a ON a.entity = 'request:' || w.id AND a.seq = w.seq"""
_FIELDS = ("status", "requester_id", "category_id", "department_id", "created_at", "updated_at")


class Merge:
    """One partition's pass. `known` is the offset before which every record must be in PostgreSQL; `applied` as for the walk."""

    def __init__(
        self, connection: Any, partition: int, known: int, applied: int, report: Report, witness: Witness | None
    ) -> None:
        self._connection = connection
        self._partition = partition
        self._known = known
        self._applied = applied
        self._report = report
        self._witness = witness
        self._last = -1
        self._heads: dict[str, Head] = {}
        self._bytes: dict[tuple[str, int], bytes] = {}

    async def step(self, records: Sequence[LogRecord], stored: dict[int, Row]) -> None:
        """Check the next records of the log, `stored` being PostgreSQL's rows up to the last of them, by offset. Raises Broken."""
        parsed = await asyncio.to_thread(self._read, records, stored)
        without = [body for record, body in parsed if body is not None and record.offset not in stored]
        places: dict[tuple[str, int], Row] = {}
        if without:
            places = await self._look_up(without)
        await asyncio.to_thread(self._check, parsed, stored, places)
        await self._compare_requests(
            [body for record, body in parsed if body is not None and record.offset < self._applied]
        )

    def _read(
        self, records: Sequence[LogRecord], stored: dict[int, Row]
    ) -> list[tuple[LogRecord, dict[str, Any] | None]]:
        """Each record and what it says; None for a fence. Offsets must ascend, and each row must have its record."""
        found: list[tuple[LogRecord, dict[str, Any] | None]] = []
        left = iter(sorted(stored))
        expected = next(left, None)
        for record in records:
            if record.offset <= self._last:
                raise Broken(
                    place(self._partition), record.offset, f"log: offset {record.offset} comes after {self._last}"
                )
            self._last = record.offset
            if expected is not None and expected < record.offset:
                raise missing(stored[expected])
            row = stored.get(record.offset)
            if row is not None:
                expected = next(left, None)
            found.append((record, self._body(record, row)))
        if expected is not None:
            raise missing(stored[expected])
        return found

    def _body(self, record: LogRecord, row: Row | None) -> dict[str, Any] | None:
        try:
            body = orjson.loads(record.value or b"")
            _ = (body["entity"] + "", body["event"], body["personal"], body["salt"], body["hash"])
            if type(body["seq"]) is not int:
                raise TypeError(f"seq is {str(body['seq'])[:60]!r}")
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            if record.type == FENCE and row is None:
                return None
            name, seq = (place(self._partition), record.offset) if row is None else (row["entity"], row["seq"])
            raise Broken(
                name, seq, f"log: the record at offset {record.offset} is no audit record: {error!r}"[:300]
            ) from error
        return body  # type: ignore[no-any-return]

    def _check(
        self,
        parsed: list[tuple[LogRecord, dict[str, Any] | None]],
        stored: dict[int, Row],
        places: dict[tuple[str, int], Row],
    ) -> None:
        for record, body in parsed:
            row = stored.get(record.offset)
            if body is None:
                name, seq = place(self._partition), record.offset
            else:
                name, seq = (body["entity"], body["seq"]) if row is None else (row["entity"], row["seq"])
                self._one(record, body, row, places.get((body["entity"], body["seq"])))
                self._remember(record, body)
            if self._witness is not None:
                self._witness.count(record, name, seq)

    def _one(self, record: LogRecord, body: dict[str, Any], row: Row | None, first: Row | None) -> None:
        """One record of the log against the row at its offset, or, without one, as a repeat or as not applied yet."""
        entity, seq = body["entity"], body["seq"]
        held = row or first
        if held is not None:
            try:
                found = rows.differences(body, held)
            except (KeyError, TypeError, ValueError) as error:
                found = [repr(error)]
            if found:
                why = f"the log (offset {record.offset}) and PostgreSQL differ in {', '.join(found)}"
                raise Broken(
                    held["entity"], held["seq"], why + ("" if rows.why_wrong(body) is None else "; the log's is wrong")
                )
        if entity.startswith(REQUEST) and (record.key or b"") != entity.removeprefix(REQUEST).encode():
            raise Broken(entity, seq, f"log: the key at offset {record.offset} is not the request's id")
        if row is None:
            self._without_row(record, body, first)
        document = body.get("request")
        if document is not None and body["outcome"] == "accepted":
            is_request = isinstance(document, dict)
            shown = (document.get("id"), document.get("version"), document.get("status")) if is_request else ()
            if shown != (body["request_id"], body["version"], body["status_after"]):
                raise Broken(
                    entity, seq, f"log: the request that the record at offset {record.offset} carries is another"
                )

    def _without_row(self, record: LogRecord, body: dict[str, Any], first: Row | None) -> None:
        entity, seq = body["entity"], body["seq"]
        before = self._bytes.get((entity, seq))
        if before is not None and before != hashlib.sha256(record.value or b"").digest():
            raise Broken(entity, seq, f"log: the repeat at offset {record.offset} is not what it repeats")
        if first is not None or before is not None:
            if first is not None and (first["partition"], first["log_offset"]) > (self._partition, record.offset):
                named = f"{topics.AUDIT}/{first['partition']} offset {first['log_offset']}"
                here = f"{topics.AUDIT}/{self._partition} offset {record.offset}"
                raise Broken(entity, seq, f"PostgreSQL names {named}, the log has it at {here}")
            self._report.repeats += 1
            return
        if record.offset < self._known:
            why = f"the log holds a record (offset {record.offset}) that PostgreSQL does not have"
            raise Broken(entity, seq, why)
        head = self._heads.setdefault(entity, Head())
        why_not = rows.why_not(body, head)
        if why_not is not None:
            raise Broken(entity, seq, f"log: {why_not}")
        head.seq, head.hash = seq, body["hash"]
        self._report.waiting += 1

    def _remember(self, record: LogRecord, body: dict[str, Any]) -> None:
        self._bytes.setdefault((body["entity"], body["seq"]), hashlib.sha256(record.value or b"").digest())
        if len(self._bytes) > 2 * REMEMBERED:
            self._bytes = dict(list(self._bytes.items())[-REMEMBERED:])

    async def _look_up(self, without: list[dict[str, Any]]) -> dict[tuple[str, int], Row]:
        """The rows that records without a row of their own may repeat; and the heads of the chains that they may continue."""
        try:
            wanted = [(body["entity"], body["seq"]) for body in without]
            found = await rows.fetch(
                self._connection, rows.BY_PLACE, [one[0] for one in wanted], [one[1] for one in wanted]
            )
        except (ValueError, TypeError, OverflowError, asyncpg.DataError) as error:
            named = next((body["entity"] for body in without if _impossible(body)), without[0]["entity"])
            raise Broken(named, 0, f"log: a name or a number that no record can have: {error}") from error
        unknown = [entity for entity in {body["entity"] for body in without} if entity not in self._heads]
        for row in await rows.fetch(self._connection, rows.HEADS, unknown) if unknown else ():
            self._heads[row["entity"]] = Head(row["seq"], row["hash"])
        if len(self._heads) > WAITING_CHAINS:
            raise StackError(
                "PostgreSQL is too far behind the log to compare them. Let the projector catch up: athena status"
            )
        return {(row["entity"], row["seq"]): row for row in found}

    async def _compare_requests(self, bodies: list[dict[str, Any]]) -> None:
        """A request's row must be the document that its newest record carries, byte for byte. Raises Broken."""
        carried = {
            (body["request_id"], body["version"]): body
            for body in bodies
            if body.get("request") is not None and body["outcome"] == "accepted" and body["entity"].startswith(REQUEST)
            if UUID_PATTERN.fullmatch(str(body["request_id"]))
        }
        if not carried:
            return
        ids, versions = [one[0] for one in carried], [one[1] for one in carried]
        found = await rows.fetch(self._connection, _NEWEST, ids, versions, [body["seq"] for body in carried.values()])
        for row in found:
            body = carried[row["id"], row["version"]]
            document = body["request"]
            if row["document"] != orjson.dumps(document).decode():
                differs = ["document"]
            else:
                differs = [name for name in _FIELDS if row[name] != document.get(name)]
                differs += [] if row["placed"] else ["place in the log"]
            if differs:
                why = f"PostgreSQL: the request's {', '.join(differs)} is not what this record carries in the log"
                raise Broken(body["entity"], body["seq"], why)


def _impossible(body: dict[str, Any]) -> bool:
    """Whether PostgreSQL cannot even be asked for such a record."""
    return "\0" in body["entity"] or not -(1 << 63) <= body["seq"] < 1 << 63


def missing(row: Row) -> Broken:
    """A row without a record in the log."""
    why = f"PostgreSQL holds a record that the log does not have ({topics.AUDIT}/{row['partition']} offset {row['log_offset']})"
    return Broken(row["entity"], row["seq"], why)


async def merge(
    merging: Merge, records: AsyncIterator[list[LogRecord]], stored: AsyncIterator[list[Row]], ahead: Any, tick: Any
) -> None:
    """Run one partition's pass. `ahead(size)` brings the checkpoints up to a size; `tick(records)` is called for each batch.

    Raises:
        Broken: the first record that is not as it must be.
    """
    buffer: list[Row] = []
    more = True
    async for batch in records:
        await ahead(len(batch))
        while more and (not buffer or buffer[-1]["log_offset"] <= batch[-1].offset):
            found: list[Row] = await anext(stored, [])
            more = bool(found)
            buffer += found
        reached = [row for row in buffer if row["log_offset"] <= batch[-1].offset]
        _no_two(reached)
        await merging.step(batch, {row["log_offset"]: row for row in reached})
        buffer = buffer[len(reached) :]
        tick(len(batch))
    rest = buffer or (await anext(stored, []) if more else [])
    if rest:
        raise missing(rest[0])


def _no_two(found: list[Row]) -> None:
    for before, row in itertools.pairwise(found):
        if before["log_offset"] == row["log_offset"]:
            raise Broken(row["entity"], row["seq"], f"PostgreSQL: two records name offset {row['log_offset']}")
