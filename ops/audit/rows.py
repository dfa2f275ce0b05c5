"""The audit rows of PostgreSQL: how they are read, when one follows another, and what a record of the log must look like there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson

from schemas.audit import CHAINED, GENESIS, canonical, chain_hash, commitment, sha256_hex

BATCH = 500
#: Seconds for one statement or one batch of rows; sorting all rows of a large table takes its time.
STATEMENT_TIME_OUT = 1800.0

_PLAIN = ", ".join(f"a.{name}" for name in CHAINED if name != "at")
_COLUMNS = f"""
SELECT {_PLAIN}, to_char(a.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS at, a.hash, a.event, a.partition,
       a.log_offset, p.salt, p.content AS personal
FROM audit.records a LEFT JOIN audit.personal p ON p.entity = a.entity AND p.seq = a.seq"""  # noqa: S608 - constants
BY_CHAIN = _COLUMNS + " WHERE $1::text IS NULL OR a.entity = $1 ORDER BY a.entity, a.seq"
BY_OFFSET = _COLUMNS + " WHERE a.partition = $1 ORDER BY a.log_offset"
BY_PLACE = (
    _COLUMNS + " JOIN unnest($1::text[], $2::bigint[]) AS w(entity, seq) ON a.entity = w.entity AND a.seq = w.seq"
)
HEADS = """
SELECT DISTINCT ON (a.entity) a.entity, a.seq, a.hash FROM audit.records a
WHERE a.entity = ANY($1::text[]) ORDER BY a.entity, a.seq DESC"""
#: What of the log must be in the rows: the offsets applied, and never less than the rows themselves say.
APPLIED = """
SELECT partition, max(next_offset) AS applied, max(most) AS known FROM (
  SELECT partition, next_offset, next_offset AS most FROM audit.applied_offsets
  UNION ALL
  SELECT n, 0, (SELECT max(log_offset) + 1 FROM audit.records WHERE partition = n) FROM unnest($1::int[]) AS n
) both_of_them GROUP BY partition"""
ELSEWHERE = (
    "SELECT entity, seq, partition FROM audit.records WHERE partition <> ALL($1::int[]) ORDER BY entity, seq LIMIT 1"
)

Row = Any


class Head:
    """Where a chain stands while it is walked along."""

    __slots__ = ("hash", "seq")

    def __init__(self, seq: int = 0, hash_: str = GENESIS) -> None:
        self.seq = seq
        self.hash = hash_


async def batches(connection: Any, statement: str, *values: Any) -> AsyncIterator[list[Row]]:
    """The statement's rows, some hundred at a time; needs a transaction."""
    cursor = await connection.cursor(statement, *values, timeout=STATEMENT_TIME_OUT)
    while rows := await cursor.fetch(BATCH, timeout=STATEMENT_TIME_OUT):
        yield rows


async def fetch(connection: Any, statement: str, *values: Any) -> list[Row]:
    """All rows of a statement that gives few."""
    found: list[Row] = await connection.fetch(statement, *values, timeout=STATEMENT_TIME_OUT)
    return found


def record_of(row: Row) -> dict[str, Any]:
    """The record that a row holds: its hashed fields, `hash`, `event`, `personal`, `salt`. Raises ValueError for no JSON, or a list
    or number where an object must be."""
    record = {name: row[name] for name in (*CHAINED, "hash", "salt")}
    record["actor_roles"] = list(row["actor_roles"])
    record["commitments"] = orjson.loads(row["commitments"])
    record["event"] = None if row["event"] is None else orjson.loads(row["event"])
    record["personal"] = None if row["personal"] is None else orjson.loads(row["personal"])
    for name in ("commitments", "personal"):
        if row[name] is not None and not isinstance(record[name], dict):
            raise ValueError(f"{name} is no JSON object")
    return record


def why_not(record: dict[str, Any], head: Head) -> str | None:
    """Why a record does not follow `head`, or is not what its own hashes say; None when all is well."""
    if record.get("seq") != head.seq + 1:
        return f"expected seq {head.seq + 1}, found {record.get('seq')}"
    if record.get("prev_hash") != head.hash:
        return f"prev_hash is {str(record.get('prev_hash'))[:12]}…, the record before has {head.hash[:12]}…"
    return why_wrong(record)


def why_wrong(record: dict[str, Any]) -> str | None:
    """Why a record is not what its own hashes say; None when all is well. Its personal parts may be missing: they are
    committed to."""
    try:
        if chain_hash(record) != record["hash"]:
            return "the hash is not that of the record's fields"
        event = record["event"]
        if (None if event is None else sha256_hex(canonical(event))) != record["content"]:
            return "the event is not the one that content commits to"
        for name, text in (record["personal"] or {}).items():
            if commitment(record["salt"], name, text) != record["commitments"].get(name):
                return f"the personal field {name} is not what was committed to"
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return f"it cannot be read: {type(error).__name__}: {error}"
    return None


def differences(record: dict[str, Any], row: Row) -> list[str]:
    """The columns of a row that are not what the log's record says. Personal parts that the row lacks are no difference."""
    personal, event = record["personal"] or None, record["event"]
    stored = {name: record[name] for name in CHAINED} | {
        "hash": record["hash"],
        "commitments": canonical(record["commitments"]).decode(),
        "event": None if event is None else canonical(event).decode(),
    }
    if row["personal"] is not None or row["salt"] is not None:
        stored["salt"] = record["salt"] if personal else None
        stored["personal"] = orjson.dumps(personal).decode() if personal else None
    return [
        name for name, value in stored.items() if (list(row[name]) if name == "actor_roles" else row[name]) != value
    ]
