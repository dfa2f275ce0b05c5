"""The simulator's read side and PostgreSQL, given the same batches, hold the same rows and refuse the same ones."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Iterator
from datetime import datetime
from typing import Any

import orjson
import pytest

from agents.projector.batch import Batch
from agents.projector.ports import Verdict, judge
from agents.projector.record import Poison
from agents.projector.store import Store
from ops.simulation.broker import Row
from ops.simulation.run import run_seed
from ops.simulation.shards import PARTITIONS
from ops.simulation.tables import Tables
from schemas import topics
from tests.integration.projector_rig import Rig, servers

#: The columns of each table, the key first.
COLUMNS = {
    "records": "entity, seq, schema_version, request_id, version, command_id, actor_id, actor_roles::text, action, level, at,"
    " outcome, code, status_before, status_after, correlation_id, content, commitments, prev_hash, hash, event, partition,"
    " log_offset FROM audit.records",
    "personal": "entity, seq, salt, content FROM audit.personal",
    "requests": "id::text, version, status, requester_id, category_id, department_id, created_at, updated_at, document,"
    " partition, log_offset FROM requests.requests",
    "participants": "request_id::text, approver_id, created_at, waiting, decided, left_by, partition, log_offset"
    " FROM requests.participants",
    "history": "request_id::text, version, status, actor_id, action, level, at, comment, on_behalf_of FROM requests.history",
    "votes": "request_id::text, level, approver_id, decision, at, version FROM requests.votes",
    "commands": "id::text, actor_id, request_id::text, outcome, code, version FROM requests.commands",
    "entities": "kind, id, version, document FROM catalog.entities",
}


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with servers() as found:
        yield found


def _batches(rows: dict[int, list[Row]], rng: random.Random) -> Iterator[Batch]:
    """All of it, in batches of any size; among them some that repeat, begin too late, or lack a record."""
    at = dict.fromkeys(rows, 0)
    while any(at[partition] < len(found) for partition, found in rows.items()):
        kind = rng.choice(("next", "next", "next", "late", "again", "hole"))
        batch = Batch()
        for partition in rng.sample(sorted(rows), rng.randint(1, len(rows))):
            start = at[partition]
            part = rows[partition][start : start + rng.choice((1, 3, 6, 12))]
            if kind == "again":
                # As after a crash of a worker: older records once more, in front of new ones.
                part = rows[partition][max(0, start - 5) : start] + part
            if kind == "hole":
                part = _without_one(part)
            batch.extend(partition, start + (kind == "late"), part, start + (kind == "late") + len(part))
            if kind in ("next", "again"):
                at[partition] = min(len(rows[partition]), part[-1].offset + 1) if part else start
                batch.nexts[partition] = at[partition]
        yield batch


def _without_one(rows: list[Row]) -> list[Row]:
    """Without a record whose chain goes on after it: a gap, wherever it lies."""
    chains = [orjson.loads(row.value or b"{}")["entity"] for row in rows]
    for index, entity in enumerate(chains):
        if entity in chains[index + 1 :]:
            return rows[:index] + rows[index + 1 :]
    return []


def _row(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Times as times, and an array without the quotes that PostgreSQL leaves out."""
    return tuple(_plain(one) for one in row)


def _plain(value: Any) -> Any:
    if isinstance(value, str) and value[:1] == "{" and ":" not in value:
        return value.replace('"', "")
    if isinstance(value, str) and value[4:5] == "-" and value[-1:] == "Z":
        return datetime.fromisoformat(value)
    return value


def test_the_memory_tables_do_what_the_statement_does(rig: Rig) -> None:
    """The simulator would prove something of tables that PostgreSQL does not have."""
    met = set().union(*(_compare(rig, seed) for seed in range(3)))
    assert met == {"written", "not held", "gap"}


def _compare(rig: Rig, seed: int) -> set[str]:
    """Fill both with the same batches; the verdicts that were met."""
    broker = run_seed(seed, 300).broker
    rows = {number: broker.rows(topics.AUDIT, number) for number in range(PARTITIONS)}
    tables = Tables(offsets=dict.fromkeys(rows, 0))
    rig.wipe()

    async def apply() -> set[str]:
        store, met = Store(rig.home.database_url("projector")), set()
        await store.offsets(rows)
        for batch in _batches(rows, random.Random(seed)):
            found = [await _verdict(store.write(batch)), await _verdict(_memory(tables, batch))]
            assert found[0] == found[1], (found, batch.starts, batch.nexts)
            met.add(found[0])
        await store.close()
        return met

    met = asyncio.run(apply())
    for name, columns in COLUMNS.items():
        stored = {tuple(row) for row in rig.query(f"SELECT {columns}")}
        memory = {_row((*_key(key), *_values(name, value))) for key, value in getattr(tables, name).items()}
        assert stored == memory, name
    # Not in the simulator: the lists by status leave out nobody's request.
    assert not rig.query(
        "SELECT FROM requests.participants p JOIN requests.requests r ON r.id = p.request_id"
        " WHERE (p.status, p.category_id) <> (r.status, r.category_id) LIMIT 1"
    )
    return met


async def _verdict(written: Awaitable[Verdict]) -> str:
    try:
        return "written" if (await written).held else "not held"
    except Poison as poison:
        return "gap" if poison.why.startswith("gap") else "differs"


async def _memory(tables: Tables, batch: Batch) -> Verdict:
    return judge(tables.apply(batch.columns()))


def _key(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def _values(name: str, value: tuple[Any, ...]) -> tuple[Any, ...]:
    if name == "records":
        return value[2:]
    if name == "history":
        status, at, actor, action, level, comment, owner = value
        return (status, actor, action, level, at, comment, owner)
    return value
