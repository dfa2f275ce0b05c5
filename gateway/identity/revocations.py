"""Which sessions were ended: polled from PostgreSQL, so that every gateway knows within a second."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import datetime

import structlog

from gateway.http.problems import Problem
from gateway.identity.tokens import LIFETIME
from gateway.sql import sessions
from gateway.sql.database import Database

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.5
#: Without a successful poll for this long, each call asks the database.
BLIND_AFTER = 5.0
#: A session's end is kept until no token of it can be valid any more.
KEEP_SECONDS = LIFETIME + 60.0


class Revocations:
    """Knows the sessions that ended in the last ten minutes, which is as long as a token lives."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._revoked: dict[str, float] = {}
        self._seen: datetime | None = None
        self._polled = float("-inf")
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read what there is, then poll. Raises Problem 503 when PostgreSQL does not answer."""
        await self._poll()
        self._task = asyncio.create_task(self._follow(), name="revocations")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def note(self, *session_ids: str) -> None:
        """Sessions that this gateway ended itself."""
        for session_id in session_ids:
            self._revoked[session_id] = time.monotonic() + KEEP_SECONDS

    async def is_revoked(self, session_id: str) -> bool:
        """Whether the session has ended. Raises Problem 503 when it must ask the database and gets no answer."""
        if session_id in self._revoked:
            return True
        if time.monotonic() - self._polled <= BLIND_AFTER:
            return False
        return not await sessions.is_alive(self._database, session_id)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self._poll()
            except Problem:
                log.warning("ended sessions cannot be read; calls ask the database after 5 s", seconds=POLL_SECONDS)
            except Exception:
                log.exception("ended sessions cannot be read")

    async def _poll(self) -> None:
        started = time.monotonic()
        for session_id, revoked_at in await sessions.revoked_since(self._database, self._seen, KEEP_SECONDS):
            self._revoked.setdefault(session_id, started + KEEP_SECONDS)
            self._seen = revoked_at if self._seen is None else max(self._seen, revoked_at)
        self._polled = started
        for session_id in [known for known, until in self._revoked.items() if until < started]:
            del self._revoked[session_id]
