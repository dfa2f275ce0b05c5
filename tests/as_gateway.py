"""The database of a test's stack as its gateways see it: their role, their pool."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.sql.database import Database
from tests.stack import Stack

Result = TypeVar("Result")


def as_gateway(stack: Stack, work: Callable[[Database], Awaitable[Result]]) -> Result:
    """What `work` returns, done with an open database."""

    async def whole() -> Result:
        database = Database(stack.home.database_url("gateway"))
        await database.start()
        try:
            return await work(database)
        finally:
            await database.stop()

    return asyncio.run(whole())
