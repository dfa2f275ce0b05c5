"""Ends the events of those who may not have them any more: within a second, as calls are refused."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog

from gateway.feed.client import Client
from gateway.feed.hub import Hub
from gateway.feed.viewer import Viewer
from gateway.http.problems import Problem
from gateway.identity.accounts import Accounts
from gateway.identity.callers import Caller
from gateway.identity.revocations import Revocations
from schemas.catalog import Catalog

log = structlog.get_logger(__name__)

#: Revocations are polled as often.
LOOK_SECONDS = 0.4
#: So many are looked at before calls get their turn.
_AT_ONCE = 200


class Guard:
    """Looks at every client: token, session, account, roles, for whom they decide."""

    def __init__(
        self, hub: Hub, revocations: Revocations, accounts: Accounts, catalog: Catalog, now_ms: Callable[[], int]
    ) -> None:
        self._hub = hub
        self._revocations = revocations
        self._accounts = accounts
        self._catalog = catalog
        self._now_ms = now_ms
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._watch(), name="guard of events")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except Exception:
                log.exception("clients of events could not be looked at; they are ended")
                self._hub.end_all("unknown")

    async def look(self) -> None:
        """Once at all of them. Who cannot be known now may not have them either."""
        for number, client in enumerate(list(self._hub.clients)):
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            try:
                reason = await self._reason(client)
            except Problem:
                reason = "unknown"
            if reason is not None:
                client.end(reason)

    async def _reason(self, client: Client) -> str | None:
        caller = client.viewer.caller
        if caller.expires <= time.time():
            return "expired"
        if await self._revocations.is_revoked(caller.session_id):
            return "signed-out"
        user = await self._accounts.current(caller.id)
        if user is None or not user.active:
            return "deactivated"
        now = Caller(user, caller.granted.intersection(user.roles), caller.session_id)
        if now.roles != caller.roles:
            return "roles"
        if Viewer.of(now, self._catalog, self._now_ms()).people != client.viewer.people:
            return "delegation"
        return None
