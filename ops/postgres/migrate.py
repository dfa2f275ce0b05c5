"""Applies the numbered migrations of `migrations/`, each in a transaction, once, recorded with its SHA-256.

Run by itself as `python -m ops.postgres.migrate` with `ATHENA_DATABASE_URL` of the owner.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import structlog

from ops.postgres.clients import connect
from ops.settings import load_settings
from ops.stack.errors import StackError

log = structlog.get_logger(__name__)

FOLDER = Path(__file__).with_name("migrations")
#: Any constant of our own: one migration at a time per database.
LOCK = 0x617468656E61
CONNECT_TIME_OUT = 10.0
LOCK_TIME_OUT = 60.0
FILE_TIME_OUT = 600.0
_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")

_REGISTER = """
CREATE TABLE IF NOT EXISTS public.schema_migrations (
  number     int PRIMARY KEY,
  name       text NOT NULL,
  sha256     text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
)"""


class MigrationError(StackError):
    """The database cannot be brought to this version; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number, name, text and the SHA-256 (hex) of its bytes."""

    number: int
    name: str
    sql: str
    sha256: str


def load(folder: Path = FOLDER) -> list[Migration]:
    """The migrations in order.

    Raises:
        MigrationError: a file's name is none, or a number is missing or twice there.
    """
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path}: expected a name such as 0002_what_it_does.sql")
        data = path.read_bytes()
        found.append(Migration(int(match[1]), path.name, data.decode(), hashlib.sha256(data).hexdigest()))
    numbers = [migration.number for migration in found]
    if numbers != list(range(1, len(found) + 1)):
        raise MigrationError(f"{folder}: expected numbers 1 to {len(found)}, found {numbers}")
    return found


async def migrate(dsn: str, folder: Path = FOLDER) -> None:
    """Apply what is not applied yet; run as the owner. Does nothing on a database that is current.

    Raises:
        MigrationError: an applied file has changed since, or the database is of a later version than this code.
        OSError, asyncpg.PostgresError, TimeoutError: the database cannot be reached (10 s), another migration runs (60 s),
            or a statement failed; that file left nothing.
    """
    migrations = load(folder)
    connection = await connect(dsn, timeout=CONNECT_TIME_OUT)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK, timeout=LOCK_TIME_OUT)
        await connection.execute(_REGISTER, timeout=LOCK_TIME_OUT)
        rows = await connection.fetch(
            "SELECT number, name, sha256 FROM public.schema_migrations", timeout=LOCK_TIME_OUT
        )
        applied = {row["number"]: row for row in rows}
        later = sorted(set(applied) - {migration.number for migration in migrations})
        if later:
            raise MigrationError(
                f"The database has migration {later[-1]}, this version knows {len(migrations)}. Run a newer version."
            )
        for migration in migrations:
            before = applied.get(migration.number)
            if before is None:
                await _apply(connection, migration)
            elif before["sha256"] != migration.sha256:
                raise MigrationError(
                    f"{migration.name} was applied with SHA-256 {before['sha256'][:12]}… and is now {migration.sha256[:12]}…. "
                    "Restore the file, and put the change into a new one."
                )
    finally:
        # Closing the session releases the lock.
        await connection.close(timeout=5)


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.sql, timeout=FILE_TIME_OUT)
        await connection.execute(
            "INSERT INTO public.schema_migrations (number, name, sha256) VALUES ($1, $2, $3)",
            migration.number,
            migration.name,
            migration.sha256,
        )
    log.info("migration applied", number=migration.number, name=migration.name)


if __name__ == "__main__":
    asyncio.run(migrate(load_settings().dsn))
