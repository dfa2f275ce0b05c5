"""What a stack needs before its processes start: roles, database, migrations, topics.

Run as `python -m ops.stack.prepare`. A process of its own, so that the supervisor stays small
and its imports overlap with the servers' start.
"""

from __future__ import annotations

import asyncio
import sys
import time

import asyncpg

from ops import kafka_acls
from ops.postgres.clients import connect
from ops.postgres.migrate import migrate
from ops.stack.errors import StackError
from ops.stack.home import DATABASE, ROLES, SUPERUSER, Home
from ops.topics import ensure

SERVER_TIME_OUT = 90.0
POLL = 0.1


async def prepare(home: Home) -> None:
    """Wait for both servers, then make what is missing in them; changes nothing where all is there.

    Raises:
        StackError: a server did not answer within 90 s.
    """
    async with asyncio.TaskGroup() as group:
        group.create_task(_database(home))
        group.create_task(_topics(home))


async def _database(home: Home) -> None:
    connection = await _connect(home.database_url("superuser", database="postgres"))
    try:
        # A statement that fails must not take a password into the server's log.
        await connection.execute("SET log_min_error_statement TO panic")
        # The server's log must not show a statement that failed: it holds a password.
        await connection.execute("SET log_min_error_statement = panic")
        found = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
        for role in ROLES.values():
            if role not in found and role != SUPERUSER:
                # Role names are constants; the password is URL-safe base64, without quotes.
                await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{home.password(role)}'")
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLES['owner']}")
            await connection.execute(f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC")
            for role in ROLES.values():
                await connection.execute(f"GRANT CONNECT ON DATABASE {DATABASE} TO {role}")
    finally:
        await connection.close(timeout=5)
    await migrate(home.database_url("owner"))


async def _connect(url: str) -> asyncpg.Connection:
    deadline = time.monotonic() + SERVER_TIME_OUT
    while True:
        try:
            return await connect(url, timeout=5)
        except (OSError, asyncpg.CannotConnectNowError, TimeoutError) as error:
            if time.monotonic() > deadline:
                raise StackError(f"PostgreSQL did not answer within {SERVER_TIME_OUT:.0f} s: {error}") from error
        await asyncio.sleep(POLL)


async def _topics(home: Home) -> None:
    await ensure(home.kafka, int(home.choices()["partitions"]), 1)
    if home.tls:
        await kafka_acls.apply(home.kafka)


def main() -> int:
    """Prepare the home named by `ATHENA_HOME`; returns the exit code."""
    failures: list[str] = []
    try:
        asyncio.run(prepare(Home()))
    except* StackError as group:
        failures += [str(error) for error in group.exceptions]
    for failure in failures:
        print(failure, file=sys.stderr)  # noqa: T201
    return 3 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
