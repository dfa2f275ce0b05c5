"""The projector's side of PostgreSQL: one connection, one prepared statement, offsets and rows in one transaction."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path

import asyncpg

from agents.projector.batch import Batch
from agents.projector.ports import Unavailable, Verdict, judge
from agents.projector.record import Poison
from ops.secrets.postgres import connect
from ops.secrets.secret import Secret
from ops.tls.context import Files

STATEMENT = Path(__file__).with_name("apply.sql").read_text(encoding="utf-8")
CONNECT_TIME_OUT = 5.0
#: Seconds for one statement; a batch takes milliseconds.
COMMAND_TIME_OUT = 60.0
_SESSION = {
    "application_name": "athena-projector",
    "statement_timeout": "50s",
    "idle_in_transaction_session_timeout": "60s",
    # Kafka holds the facts, and rows and offsets commit together: after a crash of PostgreSQL the projector goes on from
    # the last commit that reached the disk.
    "synchronous_commit": "off",
    # One plan for every batch, made while the tables may be empty: index lookups are right at any size.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
}


#: How often it is noted how far the read side is, in seconds: `lastSync` goes back to such a mark.
MARK_SECONDS = 300
# The offsets that this statement sees are committed before its clock is read. A partition without news needs no new mark.
_MARK = f"""
INSERT INTO audit.sync_marks (partition, at, next_offset)
SELECT a.partition, clock_timestamp(), a.next_offset FROM audit.applied_offsets a
LEFT JOIN LATERAL (
  SELECT m.at, m.next_offset FROM audit.sync_marks m WHERE m.partition = a.partition ORDER BY m.at DESC LIMIT 1) last ON true
WHERE last.at IS NULL
  OR last.next_offset <> a.next_offset AND abs(extract(epoch FROM clock_timestamp() - last.at)) >= {MARK_SECONDS / 2}
ON CONFLICT DO NOTHING"""  # noqa: S608 - a constant
_FORGET_MARKS = """
DELETE FROM audit.sync_marks m WHERE m.at < clock_timestamp() - make_interval(days => $1)
  AND EXISTS (SELECT FROM audit.sync_marks n WHERE n.partition = m.partition AND n.at > m.at)"""


class Store:
    """One session with PostgreSQL, made again after every failure. Not for concurrent use.

    A rebuild names a `statement` and a table of `applied` offsets of its own: it writes to other tables.
    """

    def __init__(
        self,
        dsn: str | Secret,
        statement: str = STATEMENT,
        applied: str = "audit.applied_offsets",
        tls: Files | None = None,
    ) -> None:
        self._dsn = dsn
        self._tls = tls
        self._statement = statement
        self._applied = applied
        self._connection: asyncpg.Connection | None = None
        self._apply: asyncpg.prepared_stmt.PreparedStatement | None = None
        self._lock = asyncio.Lock()

    async def offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        """The next offset to be applied of each partition, 0 where none was.

        Raises:
            Unavailable: PostgreSQL did not answer.
        """
        wanted = sorted(partitions)
        async with self._lock, self._guard() as connection:
            await connection.execute(
                f"INSERT INTO {self._applied} (partition, next_offset) SELECT unnest($1::int[]), 0 ON CONFLICT DO NOTHING",
                wanted,
            )
            rows = await connection.fetch(
                f"SELECT partition, next_offset FROM {self._applied} WHERE partition = ANY($1::int[])",  # noqa: S608
                wanted,
            )
        return {row["partition"]: row["next_offset"] for row in rows}

    async def write(self, batch: Batch) -> Verdict:
        """Write the batch and its offsets, or nothing.

        Raises:
            Unavailable: PostgreSQL did not answer; whether the batch was committed is not known, repeating it is safe.
            Poison: the batch does not follow what was applied, or differs from it, or cannot be stored.
        """
        columns = batch.columns()
        async with self._lock, self._guard() as connection:
            if self._apply is None:
                self._apply = await connection.prepare(self._statement)
            row = await self._apply.fetchrow(*columns)
        return judge(row)

    async def mark(self, days: int) -> None:
        """Note how far the read side is now, and forget the notes of more than so many days ago.

        Raises:
            Unavailable: PostgreSQL did not answer.
        """
        async with self._lock, self._guard() as connection:
            await connection.execute(_MARK)
            await connection.execute(_FORGET_MARKS, days)

    async def close(self) -> None:
        """End the session."""
        connection, self._connection, self._apply = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=2)

    @contextlib.asynccontextmanager
    async def _guard(self):  # type: ignore[no-untyped-def]
        """The connection; sorts errors into `Unavailable` and `Poison`."""
        try:
            if self._connection is None or self._connection.is_closed():
                self._apply = None
                self._connection = await connect(
                    self._dsn,
                    self._tls,
                    timeout=CONNECT_TIME_OUT,
                    command_timeout=COMMAND_TIME_OUT,
                    server_settings=_SESSION,
                )
            yield self._connection
        except asyncpg.DataError as error:
            raise Poison(f"PostgreSQL cannot store it: {error}") from error
        except asyncpg.IntegrityConstraintViolationError as error:
            raise Poison(f"PostgreSQL refuses it: {error}") from error
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # Also a missing table or grant: a migration may be on its way, and nothing is skipped meanwhile.
            self._drop()
            raise Unavailable(f"{type(error).__name__}: {error}") from error

    def _drop(self) -> None:
        connection, self._connection, self._apply = self._connection, None, None
        if connection is not None:
            connection.terminate()
