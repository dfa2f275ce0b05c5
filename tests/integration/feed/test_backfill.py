"""A read side from before positions: what is in it has its place in the log afterwards."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from gateway.sql import updates
from gateway.sql.database import Database
from ops.postgres.migrate import FOLDER, migrate
from tests.integration.projector_rig import Rig, servers

NAME = "before_positions"
ID = str(uuid.UUID(int=77))
POSITIONS = next(FOLDER.glob("*_sync_positions.sql"))
RECORD = """INSERT INTO audit.records (entity, seq, schema_version, request_id, version, command_id, actor_id, actor_roles, action,
  at, outcome, correlation_id, commitments, prev_hash, hash, partition, log_offset)
  VALUES ('request:' || $1, $2, 1, $1, $3, 'c', 'a', '{}', $4, now(), $5, 'c', '{}', 'p', 'h', 3, $6)"""


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with servers() as found:
        yield found


def test_what_was_there_before_is_followed_from_its_place(rig: Rig, tmp_path: Path) -> None:
    """After an update of the product every device would miss what was filed before it."""
    for file in FOLDER.glob("*.sql"):
        if file.name < POSITIONS.name:
            shutil.copy(file, tmp_path)
    dsn = rig.home.database_url("superuser", database=NAME)

    async def live() -> None:
        outside = await asyncpg.connect(rig.home.database_url("superuser"))
        await outside.execute(f"CREATE DATABASE {NAME}")
        await outside.close()
        await migrate(dsn, tmp_path)
        inside = await asyncpg.connect(dsn)
        await inside.execute(
            "INSERT INTO requests.requests VALUES ($1, 2, 'pending_l1', 'sam', 'c', 'd', now(), now(), '{}')",
            uuid.UUID(ID),
        )
        rows = [
            (1, 1, "submit", "accepted", 10),
            (2, 2, "approve", "accepted", 14),
            (3, None, "approve", "refused", 15),
        ]
        await inside.executemany(RECORD, [(ID, *row) for row in rows])
        await inside.execute(
            "INSERT INTO requests.history VALUES ($1, 2, 'pending_l1', now(), 'ann', 'approve', 'L1', NULL)",
            uuid.UUID(ID),
        )
        people = [("ann", False), ("bob", True), ("eve", False)]
        await inside.executemany(
            f"INSERT INTO requests.participants VALUES ($1, '{ID}', now(), $2)",
            people,
        )
        await inside.execute("INSERT INTO audit.applied_offsets VALUES (3, 16)")
        await inside.close()
        await migrate(dsn)
        database = Database(dsn)
        await database.start()
        try:
            own = await updates.own(database, "sam", {}, 10)
            assert [(row.id, row.partition, row.log_offset) for row in own.rows] == [(ID, 3, 14)]
            assert not (await updates.own(database, "sam", {3: 15}, 10)).rows
            shown = {}
            for who in ("ann", "bob", "eve"):
                found = await updates.approvals(database, who, (who,), {}, 10, told=True)
                shown[who] = [(row.id, row.document) for row in found.rows]
            assert shown == {"ann": [(ID, "{}")], "bob": [(ID, "{}")], "eve": []}
        finally:
            await database.stop()

    asyncio.run(live())
