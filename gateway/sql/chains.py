"""Verifies audit chains from the stored rows: every hash, every link, every commitment, and that no tail is missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.sql.database import Database, Row
from schemas.audit import CHAINED, GENESIS, chain_hash, commitment, content_hash

BATCH = 500
_MINUTES = 30

_COLUMNS = ", ".join(f"a.{name}" for name in CHAINED if name != "at")
_RECORDS = f"""
SELECT {_COLUMNS}, to_char(a.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS at, a.hash, a.event,
       p.salt, p.content AS personal
FROM audit.records a LEFT JOIN audit.personal p ON p.entity = a.entity AND p.seq = a.seq"""  # noqa: S608 - constants
_ALL = _RECORDS + " ORDER BY a.entity, a.seq"
_ONE = _RECORDS + " WHERE a.entity = $1 ORDER BY a.seq"
_VERSIONS = "SELECT id::text, version FROM requests.requests WHERE id = ANY($1::uuid[])"
_WITHOUT_CHAIN = """
SELECT min('request:' || r.id::text) FROM requests.requests r
WHERE ($1::text IS NULL OR r.id = $1::uuid)
  AND NOT EXISTS (SELECT FROM audit.records a WHERE a.entity = 'request:' || r.id::text)"""


@dataclass(slots=True)
class Verdict:
    """`first_break` is `{"entity", "seq", "why"}` of the first record that does not hold, in the order of entities."""

    chains: int = 0
    records: int = 0
    first_break: dict[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """The answer of `GET /audit/verify`."""
        return {
            "ok": self.first_break is None,
            "chains": self.chains,
            "records": self.records,
            "first_break": self.first_break,
        }


class Chain:
    """Where a walk along the chains stands; counts them, and stops at nothing until something breaks."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.entity: str | None = None
        self.seq = 0
        self.hash = GENESIS
        self.version = 0
        #: By request, last accepted version and last seq of the chains that ended since the last look.
        self.ended: dict[str, tuple[int, int]] = {}

    def walk(self, rows: list[Row]) -> None:
        """Check the next records."""
        for row in rows:
            if row["entity"] != self.entity:
                self.end()
                self.entity, self.seq, self.hash, self.version = row["entity"], 0, GENESIS, 0
                self.verdict.chains += 1
            why = self._check(row)
            self.verdict.records += 1
            if why is not None:
                self._broken(row["entity"], row["seq"], why)
                return
            self.seq, self.hash = row["seq"], row["hash"]
            if row["outcome"] == "accepted" and row["version"] is not None:
                self.version = row["version"]

    def end(self) -> None:
        """The chain walked along last has no more records."""
        if self.entity is not None and self.entity.startswith("request:"):
            self.ended[self.entity.removeprefix("request:")] = (self.version, self.seq)

    def compare(self, versions: dict[str, int]) -> None:
        """Hold the ended chains against the versions of their requests: a chain whose tail was cut off is too short."""
        for request_id, (version, seq) in self.ended.items():
            found = versions.get(request_id)
            if found is not None and found != version:
                self._broken(
                    f"request:{request_id}", seq + 1, f"ends at version {version}, but the request has {found}"
                )
        self.ended.clear()

    def _broken(self, entity: str, seq: int, why: str) -> None:
        if self.verdict.first_break is None:
            self.verdict.first_break = {"entity": entity, "seq": seq, "why": why}

    def _check(self, row: Row) -> str | None:
        if row["seq"] != self.seq + 1:
            return f"expected seq {self.seq + 1}, found {row['seq']}"
        if row["prev_hash"] != self.hash:
            return "prev_hash is not the hash of the record before"
        try:
            return _content_breaks(row)
        except (ValueError, TypeError, AttributeError) as error:
            return f"cannot be read: {type(error).__name__}"


def _content_breaks(row: Row) -> str | None:
    """Why the record is not what its hash says; None when it is."""
    record = {name: row[name] for name in CHAINED}
    record["actor_roles"] = list(row["actor_roles"])
    record["commitments"] = orjson.loads(row["commitments"])
    if chain_hash(record) != row["hash"]:
        return "hash is not that of the record's fields"
    event = None if row["event"] is None else orjson.loads(row["event"])
    if (None if event is None else content_hash(event)) != row["content"]:
        return "content is not the hash of the event"
    personal = {} if row["personal"] is None else orjson.loads(row["personal"])
    for name, text in personal.items():
        if commitment(row["salt"], name, text) != record["commitments"].get(name):
            return f"the personal field {name} is not what was committed to"
    return None


async def verify(database: Database, request_id: str | None) -> Verdict:
    """Recompute the chain of one request, or all chains, in one snapshot and in bounded memory. Raises Problem 503."""
    verdict = Verdict()
    chain = Chain(verdict)
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await connection.execute(f"SET LOCAL statement_timeout = '{_MINUTES}min'")
        async for rows in _batches(connection, request_id):
            await asyncio.to_thread(chain.walk, rows)
            if verdict.first_break is not None:
                return verdict
            await _compare(connection, chain)
        chain.end()
        await _compare(connection, chain)
        if verdict.first_break is None:
            missing = await connection.fetchval(_WITHOUT_CHAIN, request_id, timeout=_MINUTES * 60)
            if missing is not None:
                verdict.first_break = {"entity": missing, "seq": 1, "why": "the request has no audit chain"}
    return verdict


async def _batches(connection: Any, request_id: str | None) -> AsyncIterator[list[Row]]:
    if request_id is None:
        cursor = await connection.cursor(_ALL)
    else:
        cursor = await connection.cursor(_ONE, f"request:{request_id}")
    while rows := await cursor.fetch(BATCH, timeout=60):
        yield rows


async def _compare(connection: Any, chain: Chain) -> None:
    if chain.ended:
        found = await connection.fetch(_VERSIONS, list(chain.ended))
        chain.compare({row[0]: row[1] for row in found})
