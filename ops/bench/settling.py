"""Waits until a stack has done what filling left behind, so that it is not billed on the requests measured next.

PostgreSQL vacuums and analyses tables that grew by a fifth, some time later; RocksDB merges files; the broker's cleaner compacts.
"""

from __future__ import annotations

import asyncio
import time

import asyncpg

from ops.bench.running import Meter, progress_of, say, server_processes
from ops.postgres.clients import connect
from ops.stack.home import Home

#: The work of seconds in which all server processes together use less than this share of a core is idle polling.
IDLE = 0.15
QUIET_SECONDS = 5
#: By then it goes on anyway, and says so.
LONGEST_SECONDS = 300.0
STATEMENT_SECONDS = 600.0
_FILLED = "SELECT relid::regclass::text AS name FROM pg_stat_user_tables WHERE pg_relation_size(relid) > 0"


async def upkeep(database: asyncpg.Connection) -> None:
    """What autovacuum and the checkpointer would do some time later. As the superuser."""
    # A table that is empty now would be planned for as empty while the measured requests fill it, and be walked whole.
    for table in await database.fetch(_FILLED):
        await database.execute(f"VACUUM (ANALYZE) {table['name']}", timeout=STATEMENT_SECONDS)
    await database.execute("CHECKPOINT", timeout=STATEMENT_SECONDS)


async def settle(home: Home) -> bool:
    """Have PostgreSQL do its upkeep now, then wait until nobody does anything. False: somebody still does after five minutes."""
    say("settling: vacuum, analyse, checkpoint")
    database = await connect(home.database_url("superuser"), timeout=STATEMENT_SECONDS)
    try:
        await upkeep(database)
    finally:
        await database.close()
    began, quiet, told = time.monotonic(), 0, progress_of("waiting until it is idle, seconds")
    while quiet < QUIET_SECONDS:
        meter = Meter(server_processes(home))
        await asyncio.sleep(1.0)
        used = meter.document()
        quiet = quiet + 1 if sum(used["cpu_s"].values()) < IDLE * used["seconds"] else 0
        waited = time.monotonic() - began
        told(round(waited), round(LONGEST_SECONDS))
        if waited > LONGEST_SECONDS:
            return False
    return True
