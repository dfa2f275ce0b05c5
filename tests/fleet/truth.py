"""What PostgreSQL holds, against what the phones show and what they heard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
import orjson

from gateway.sync.operation import command_id_of
from tests.fleet.book import DROPPED, Book, Tapped
from tests.fleet.phone import Phone

_OWN = "SELECT document FROM requests.requests WHERE requester_id = $1"
#: Waits for them, or they voted on it at some time.
_APPROVALS = """
SELECT r.document FROM requests.requests r WHERE EXISTS (
  SELECT FROM requests.participants p WHERE p.request_id = r.id AND p.approver_id = $1 AND p.waiting)
OR EXISTS (
  SELECT FROM requests.history h WHERE h.request_id = r.id AND h.actor_id = $1 AND h.action IN ('approve', 'reject'))"""
_RECORDS = """
SELECT command_id, outcome, code, request_id, actor_id FROM audit.records
WHERE actor_id = ANY($1::text[]) AND entity ~ '^(request|partition):'"""
#: Refusals by the gateway, before anything is a command.
_AT_THE_DOOR = frozenset({"invalid", "op-id-reused", "too-large"})


async def differences(database: str, phones: Sequence[Phone], book: Book) -> list[str]:
    """One sentence for each row of a phone that is not the server's, and each tap that has not exactly one outcome."""
    connection = await asyncpg.connect(database, timeout=10)
    try:
        found = [text for phone in phones for text in await _lists(connection, phone)]
        people = sorted({one.user_id for one in book.taps.values()})
        return found + _taps(book, await connection.fetch(_RECORDS, people))
    finally:
        await connection.close(timeout=5)


async def _lists(connection: Any, phone: Phone) -> list[str]:
    found = []
    for what in phone.lists:
        wanted: dict[str, Any] = {}
        if what not in phone.closed:
            rows = await connection.fetch(_OWN if what == "requests" else _APPROVALS, phone.user_id)
            wanted = {one["id"]: one for one in (orjson.loads(row["document"]) for row in rows)}
        shown = phone.kept.side(what).rows
        name = f"phone {phone.number} of {phone.user_id}, {what}"
        found += [f"{name}: {id_} is missing" for id_ in wanted.keys() - shown.keys()]
        found += [
            f"{name}: {id_} should be gone, and is shown as {shown[id_]['version']} {shown[id_]['status']}"
            for id_ in shown.keys() - wanted.keys()
        ]
        found += [
            f"{name}: {id_} is shown as {shown[id_]['version']}, not as {wanted[id_]['version']}"
            for id_ in wanted.keys() & shown.keys()
            if wanted[id_] != shown[id_]
        ]
    return found


def _taps(book: Book, rows: Sequence[Any]) -> list[str]:
    effects: dict[str, list[Any]] = {}
    for row in rows:
        effects.setdefault(row["command_id"], []).append(row)
    found = []
    for (user_id, client_id, op_id), tap in book.taps.items():
        made = effects.pop(command_id_of(user_id, client_id, op_id), [])
        wrong = _wrong(tap, made)
        if wrong:
            told = f"{tap.item['op']} {tap.item['request_id']} by {user_id}, op {op_id}, heard {tap.heard}"
            found.append(f"{told}: {wrong}; on record {[(one['outcome'], one['code']) for one in made]}")
    found += [f"command {id_} of {rows[0]['actor_id']} belongs to no tap" for id_, rows in effects.items()]
    return found


def _wrong(tap: Tapped, made: list[Any]) -> str | None:
    """What is wrong with what became of a tap, None when it has exactly one outcome, and that is the one that was told."""
    if len(set(tap.heard)) > 1:
        return "was told different things"
    if len(made) > 1:
        return "was decided more than once"
    if any(one["request_id"] != tap.item["request_id"] for one in made):
        return "touched another request"
    if not tap.heard:
        return None
    end, code = tap.heard[0]
    if end == DROPPED or code in _AT_THE_DOOR:
        return "was decided, although the phone was told that it was not" if made else None
    if not made:
        return "is not on record"
    outcome = ("accepted", None) if end == "applied" else ("refused", code)
    return None if (made[0]["outcome"], made[0]["code"]) == outcome else "was told something else than is on record"
