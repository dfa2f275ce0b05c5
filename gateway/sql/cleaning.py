"""Removes what is not needed any more, in steps so small that each is done well within a statement's time, whatever the backlog."""

from __future__ import annotations

from gateway.sql.database import Database


async def remove(database: Database, statement: str, at_once: int) -> None:
    """Repeat the statement, which removes up to `$1` rows, until fewer are left.

    Rows that somebody has locked are passed over, if it says so, and are for the next time.
    """
    while True:
        async with database.connection() as connection:
            done: str = await connection.execute(statement, at_once)
        if int(done.rpartition(" ")[2]) < at_once:
            return
