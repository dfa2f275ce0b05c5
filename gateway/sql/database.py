"""The connections to PostgreSQL. What it cannot answer is a problem 503, never an exception of the driver."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import structlog

from gateway import metrics
from gateway.http.problems import unavailable
from ops.secrets.postgres import connect
from ops.secrets.secret import Secret
from ops.tls.context import Files

log = structlog.get_logger(__name__)

ACQUIRE_SECONDS = 2.0
STATEMENT_SECONDS = 5.0
#: SQLSTATE classes of a server that is away, full or ending, or lets nobody in just now: connection, transaction state (a standby
#: takes no writes), login, no such database, resources, intervention. And of a statement that lost against another one.
_AWAY = ("08", "25", "28", "3D", "53", "57")
_LOST = ("40001", "40P01")

#: Every statement looks things up by an index, or walks one as far as a page goes. That is right at any size; the planner would
#: read a whole table, or all that matches, where it guesses, wrongly or before there are statistics, that this is little.
PLANNING = {"enable_seqscan": "off", "enable_bitmapscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}

Row = Any


class Database:
    """Asks PostgreSQL. Every statement is bounded: 2 s for a connection, 5 s for the answer."""

    def __init__(self, url: str | Secret, least: int = 2, most: int = 10, tls: Files | None = None) -> None:
        self._url = url
        self._tls = tls
        self._least = least
        self._most = most
        self._pool: Any = None

    async def start(self) -> None:
        """Open the pool. Raises Problem 503 when PostgreSQL does not answer."""
        with _as_problem():
            self._pool = await asyncpg.create_pool(
                connect=self._connect,
                min_size=self._least,
                max_size=self._most,
                timeout=ACQUIRE_SECONDS,
                command_timeout=STATEMENT_SECONDS,
                statement_cache_size=200,
                reset=_no_reset,
                server_settings={
                    "application_name": "athena-gateway",
                    "statement_timeout": str(int(STATEMENT_SECONDS * 1000)),
                    "idle_in_transaction_session_timeout": "60000",
                    "timezone": "UTC",
                    **PLANNING,
                },
            )
        metrics.SQL_CONNECTIONS.labels("open").set_function(lambda: self._pool.get_size() if self._pool else 0)
        metrics.SQL_CONNECTIONS.labels("idle").set_function(lambda: self._pool.get_idle_size() if self._pool else 0)

    async def _connect(self, _dsn: None, **options: Any) -> Any:
        """A connection for the pool, by the URL as it is now."""
        return await connect(self._url, self._tls, **options)

    async def stop(self, seconds: float = 2.0) -> None:
        """Close the pool, by force where it takes longer."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(seconds):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """One connection, for a transaction. Raises Problem 503, also for what happens within."""
        if self._pool is None:
            raise unavailable("The database cannot be reached.")
        with _as_problem():
            async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
                try:
                    yield connection
                except asyncpg.InternalClientError:
                    # Seen when the server is killed in the middle of an answer: this connection is of no more use.
                    connection.terminate()
                    raise

    async def rows(self, statement: str, *values: Any) -> list[Row]:
        """All rows of the statement."""
        async with self.connection() as connection:
            found: list[Row] = await connection.fetch(statement, *values)
            return found

    async def row(self, statement: str, *values: Any) -> Row | None:
        """The first row, None when there is none."""
        async with self.connection() as connection:
            return await connection.fetchrow(statement, *values)

    async def value(self, statement: str, *values: Any) -> Any:
        """The first column of the first row, None when there is none."""
        async with self.connection() as connection:
            return await connection.fetchval(statement, *values)


async def _no_reset(_connection: Any) -> None:
    """Statements here leave nothing behind in a session, so the driver's clean-up round trip is not needed."""


@contextlib.contextmanager
def _as_problem() -> Iterator[None]:
    try:
        yield
    except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise _unreachable(error) from error
    except asyncpg.PostgresError as error:
        state = error.sqlstate or ""
        if state[:2] in _AWAY or state in _LOST:
            raise _unreachable(error) from error
        raise


def _unreachable(error: BaseException) -> Exception:
    metrics.SQL_FAILURES.inc()
    log.warning("PostgreSQL does not answer", error=f"{type(error).__name__}: {error}"[:300])
    return unavailable("The database cannot be reached.")
