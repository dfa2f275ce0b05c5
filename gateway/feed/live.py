"""All that live events need, put together; started and stopped as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.feed.guard import Guard
from gateway.feed.hub import Hub
from gateway.identity.accounts import Accounts
from gateway.identity.revocations import Revocations
from gateway.sql.database import Database
from gateway.turns import Turns
from ops.settings import Settings
from schemas.catalog import Catalog

#: Clients that read what they missed at a time, and the longest that another waits for its turn, in seconds.
_RESUMING = 3
_RESUMING_WAITS = 60.0


class Live:
    """`resuming`: turns of clients that read what they missed."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        revocations: Revocations,
        accounts: Accounts,
        catalog: Catalog,
        now_ms: Callable[[], int],
    ) -> None:
        self.hub = Hub(database, settings.event_clients, settings.event_clients_per_user)
        self.resuming = Turns(_RESUMING, settings.event_clients, _RESUMING_WAITS, "resuming")
        self._guard = Guard(self.hub, revocations, accounts, catalog, now_ms)

    def start(self) -> None:
        """Begin to follow the read side."""
        self.hub.start()
        self._guard.start()

    async def stop(self) -> None:
        await asyncio.gather(self._guard.stop(), self.hub.stop())

    def close(self) -> None:
        """The end is near: clients go elsewhere."""
        self.hub.close()
