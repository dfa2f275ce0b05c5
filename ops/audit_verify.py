"""`athena audit verify`: recomputes every audit chain from PostgreSQL's rows and from the Kafka log, and compares the two.

Both are streamed; kept in memory is one small entry per chain.
"""

# ruff: noqa: T201 - a command prints

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson

from ops.log_reader import read_all
from ops.stack.errors import StackError
from ops.stack.home import Home
from schemas import topics
from schemas.audit import CHAINED, GENESIS, canonical, chain_hash, commitments, sha256_hex

CONNECT_TIME_OUT = 10.0
PREFETCH = 500
FENCE = b"athena.fence"

_ROWS = f"""
SELECT r.{", r.".join(CHAINED)}, r.hash, r.event, p.salt, p.content AS personal
FROM audit.records r LEFT JOIN audit.personal p ON p.entity = r.entity AND p.seq = r.seq
WHERE $1::text IS NULL OR r.entity = $1
ORDER BY r.entity, r.seq
"""  # noqa: S608 - column names are constants
_HISTORY = """
SELECT h.request_id::text AS id, count(*) AS events, min(h.version) AS first, max(h.version) AS last, r.version AS version,
  (SELECT count(*) FROM audit.records a WHERE a.entity = 'request:' || h.request_id AND a.outcome = 'accepted') AS accepted
FROM requests.history h LEFT JOIN requests.requests r ON r.id = h.request_id
WHERE $1::uuid IS NULL OR h.request_id = $1
GROUP BY h.request_id, r.version ORDER BY h.request_id
"""
_LOST = """
SELECT r.id::text FROM requests.requests r
WHERE ($1::uuid IS NULL OR r.id = $1) AND NOT EXISTS (SELECT FROM requests.history h WHERE h.request_id = r.id) LIMIT 1
"""


@dataclass(slots=True)
class Break:
    """The first record that is not as it must be."""

    entity: str
    seq: int
    why: str


@dataclass(slots=True)
class Head:
    """Where a chain stands while it is read: the last `seq` and `hash`."""

    seq: int = 0
    hash: str = GENESIS


@dataclass(slots=True)
class Report:
    """What was found. `first_break` None means that all is whole."""

    chains: int = 0
    records: int = 0
    first_break: Break | None = None
    heads: dict[str, Head] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """`{"ok", "chains", "records", "first_break"}`."""
        found = self.first_break
        return {
            "ok": found is None,
            "chains": self.chains,
            "records": self.records,
            "first_break": None if found is None else {"entity": found.entity, "seq": found.seq, "why": found.why},
        }


def run(home: Home, request_id: str | None, as_json: bool) -> int:
    """Verify all chains, or one request's.

    Exit code 0 whole, 1 broken, 2 `request_id` is none, 3 cannot reach Kafka or PostgreSQL.
    """
    try:
        request_id = None if request_id is None else str(uuid.UUID(request_id))
    except ValueError:
        print(f"{request_id!r} is no request id: write a UUID", file=sys.stderr)
        return 2
    try:
        report = asyncio.run(verify(home.kafka, home.database_url("owner"), request_id))
    except (StackError, OSError, TimeoutError, asyncpg.PostgresError) as error:
        print(f"The audit cannot be verified: {error}. Is the stack up? See: athena status", file=sys.stderr)
        return 3
    found = report.first_break
    if as_json:
        print(json.dumps(report.as_json()))
    elif found is None:
        print(
            f"All {report.chains} chains with {report.records} records are whole, in PostgreSQL and in the log alike."
        )
    else:
        print(f"BROKEN at {found.entity} seq {found.seq}: {found.why}")
    return 0 if found is None else 1


async def verify(kafka: str, dsn: str, request_id: str | None = None) -> Report:
    """Read both, and say what is broken first.

    Raises:
        StackError, OSError, TimeoutError, asyncpg.PostgresError: Kafka or PostgreSQL cannot be reached.
    """
    entity = None if request_id is None else f"request:{request_id.lower()}"
    connection = await asyncpg.connect(dsn, timeout=CONNECT_TIME_OUT)
    try:
        # One snapshot for all of PostgreSQL's part; the log is read afterwards and so holds at least as much.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            report = await _database(connection, entity)
            if report.first_break is None:
                report.first_break = await _versions(connection, request_id)
    finally:
        await connection.close(timeout=5)
    if report.first_break is None:
        report.first_break = await _log(read_all(kafka, topics.AUDIT), report.heads, entity)
    if report.first_break is None and entity is not None and report.records == 0:
        report.first_break = Break(entity, 0, "there is no record of this request")
    return report


async def _database(connection: asyncpg.Connection, entity: str | None) -> Report:
    report = Report()
    head = Head()
    name = ""
    async for row in connection.cursor(_ROWS, entity, prefetch=PREFETCH):
        if row["entity"] != name:
            name, head = row["entity"], Head()
            report.heads[name] = head
            report.chains += 1
        report.records += 1
        record = dict(row)
        record["at"] = _rfc3339(row["at"])
        record["commitments"] = orjson.loads(row["commitments"])
        personal = None if row["personal"] is None else orjson.loads(row["personal"])
        event = None if row["event"] is None else orjson.loads(row["event"])
        why = check(record, head, event, personal)
        if why is not None:
            report.first_break = Break(name, row["seq"], f"PostgreSQL: {why}")
            return report
        head.seq, head.hash = row["seq"], row["hash"]
    return report


def check(
    record: dict[str, Any], head: Head, event: dict[str, Any] | None, personal: dict[str, str] | None
) -> str | None:
    """Why this record does not follow `head`, or is not what its hashes say; None when all is well.

    `personal` None: erased, or there never was any; the commitments then stand for themselves.
    """
    if record["seq"] != head.seq + 1:
        return f"expected seq {head.seq + 1}, found {record['seq']}"
    if record["prev_hash"] != head.hash:
        return f"prev_hash is {record['prev_hash'][:12]}…, the record before has {head.hash[:12]}…"
    if chain_hash(record) != record["hash"]:
        return "the hash is not that of the record's fields"
    if (None if event is None else sha256_hex(canonical(event))) != record["content"]:
        return "the event is not the one that content commits to"
    if personal is not None and commitments(record["salt"], personal) != record["commitments"]:
        return "the personal parts are not those that the commitments were made for"
    return None


async def _versions(connection: asyncpg.Connection, request_id: str | None) -> Break | None:
    """Whether the status history has versions 1..n without gap, n being the request's version and its accepted records."""
    async for row in connection.cursor(_HISTORY, request_id, prefetch=PREFETCH):
        if not (row["first"] == 1 and row["last"] == row["events"] == row["version"] == row["accepted"]):
            why = (
                f"request's version is {row['version']}, its history has {row['events']} events from {row['first']} to "
                f"{row['last']}, its chain {row['accepted']} accepted records"
            )
            return Break(f"request:{row['id']}", row["last"], f"PostgreSQL: {why}")
    lost = await connection.fetchval(_LOST, request_id)
    return None if lost is None else Break(f"request:{lost}", 1, "PostgreSQL: the request has no history")


async def _log(records: AsyncIterator[Any], stored: dict[str, Head], entity: str | None) -> Break | None:
    """Walk the log's chains; each must pass through PostgreSQL's last record. Repeats must be of records seen before."""
    heads: dict[str, Head] = {}
    passed: set[str] = set()
    async for found in records:
        value = found.value
        if not value or value[:1] != b"{":
            if any(key == "ce_type" and text == FENCE for key, text in found.headers):
                continue
            return Break("?", 0, f"log: partition {found.partition} offset {found.offset} holds no audit record")
        record = orjson.loads(value)
        name = record.get("entity")
        if name is None or (entity is not None and name != entity):
            continue
        head = heads.setdefault(name, Head())
        if record["seq"] <= head.seq:
            # A repeat after a crash of a worker: the same bytes, which the hash stands for.
            if chain_hash(record) != record["hash"]:
                return Break(name, record["seq"], "log: a repeat differs from its hash")
            continue
        why = check(record, head, record["event"], record["personal"] or None)
        if why is not None:
            return Break(name, record["seq"], f"log: {why}")
        head.seq, head.hash = record["seq"], record["hash"]
        last = stored.get(name)
        if last is not None and head.seq == last.seq:
            if head.hash != last.hash:
                return Break(name, head.seq, "the log and PostgreSQL hold different records")
            passed.add(name)
    for name, last in stored.items():
        if name not in passed:
            return Break(name, last.seq, "PostgreSQL holds a record that the log does not have")
    return None


def _rfc3339(at: datetime) -> str:
    at = at.astimezone(UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S") + f".{at.microsecond // 1000:03d}Z"
