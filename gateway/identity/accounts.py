"""Accounts as they are now, also where this gateway cannot hear of changes.

Changes come from Kafka. About once a second it is confirmed that all of them were read; without that for five seconds each
account is looked up in PostgreSQL too, and what is the less of both holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import structlog

from gateway.feed.principals import principals
from gateway.sql import accounts
from gateway.sql.database import Database
from schemas.catalog import Catalog
from schemas.reference import User

log = structlog.get_logger(__name__)

CONFIRM_SECONDS = 1.0
#: A broker that does not answer by then has not confirmed.
CONFIRM_TIMEOUT = 2.0
#: Without a confirmation for this long, each call asks the database.
BLIND_AFTER = 5.0


class Accounts:
    """Knows who is active and in which roles."""

    def __init__(
        self,
        catalog: Catalog,
        database: Database,
        catch_up: Callable[[float], Awaitable[bool]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`catch_up` says whether all that is in the topic now was applied within so many seconds."""
        self._catalog = catalog
        self._database = database
        self._catch_up = catch_up
        self._clock = clock
        self._confirmed = float("-inf")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to confirm; until the first time each call asks the database."""
        self._task = asyncio.create_task(self._confirm(), name="accounts")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def current(self, user_id: str) -> User | None:
        """The account. Raises Problem 503 when it must ask the database and gets no answer."""
        user = self._catalog.users.get(user_id)
        if user is None or self._clock() - self._confirmed <= BLIND_AFTER:
            return user
        stored = await accounts.stored(self._database, user_id)
        if stored is None:
            return None
        newer = user if user.version >= stored.version else stored
        roles = tuple(role for role in newer.roles if role in user.roles and role in stored.roles)
        return newer.model_copy(update={"active": user.active and stored.active, "roles": roles})

    def delegators_of(self, user_id: str) -> tuple[str, ...]:
        """Those whose delegate this person is now."""
        return principals(self._catalog, user_id, int(time.time() * 1000))[1:]

    async def _confirm(self) -> None:
        seen = True
        while True:
            started = self._clock()
            try:
                confirmed = await self._catch_up(CONFIRM_TIMEOUT)
            except Exception:
                log.exception("the end of the reference data cannot be found out")
                confirmed = False
            if confirmed:
                self._confirmed = started
            elif seen:
                log.warning("changes of accounts cannot be heard of; calls ask the database after 5 s")
            seen = confirmed
            await asyncio.sleep(CONFIRM_SECONDS)
