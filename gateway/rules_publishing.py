"""Large rules files on their way to be published: looked at here first, few at a time.

The worker checks a file in the order of the log, and other changes of reference data wait for that. So a file with errors does not
get there, and of the others the worker has few at a time, whoever sends them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from gateway.http.answers import Answer
from gateway.http.problems import refusal, unavailable
from gateway.streams.outcomes import Waiter
from schemas.catalog import Catalog
from schemas.codes import Code
from schemas.reference import SMALL_RULES

#: Large files under way from this gateway, and one of each admin.
MOST = 2
#: One whose answer was not waited for is under way until it is decided, or so long: the worker's own limit, and some.
UNDECIDED_SECONDS = 60.0
_RETRY_AFTER = 5


class Desk(Protocol):
    """See `gateway.rules_desk.RulesDesk`."""

    async def check(self, yaml: str) -> list[dict[str, Any]]: ...


class Decisions(Protocol):
    """See `gateway.streams.outcomes.Outcomes`."""

    def expect(self, command_id: str) -> Waiter: ...

    def forget(self, command_id: str, waiter: Waiter) -> None: ...


class RulesPublishing:
    """Sends files to be published. What it refuses itself was never a command: it is neither audited nor remembered."""

    def __init__(self, catalog: Catalog, desk: Desk, decisions: Decisions) -> None:
        self._catalog = catalog
        self._desk = desk
        self._decisions = decisions
        self._under_way: set[str] = set()
        self._followed: set[asyncio.Task[None]] = set()

    async def publish(self, admin_id: str, command_id: str, yaml: str, send: Callable[[], Awaitable[Answer]]) -> Answer:
        """What `send` answers, once the file may go.

        Raises:
            Problem: 422 `rules-invalid` with findings, or as `RulesDesk.check`; 503 when too many are under way; and what `send`
                raises.
        """
        if len(yaml) <= SMALL_RULES:
            return await send()
        if admin_id in self._under_way:
            raise unavailable("Another rules file of yours is being published. Try again later.", _RETRY_AFTER)
        if len(self._under_way) >= MOST:
            raise unavailable("As many rules files as may are being published. Try again later.", _RETRY_AFTER)
        self._under_way.add(admin_id)
        waiter, undecided = self._decisions.expect(command_id), False
        try:
            # One that was published before had no errors: it is restored, or this repeats a command that was answered already, and
            # must be answered the same although the organisation has changed since.
            if not any(rules.yaml == yaml for rules in self._catalog.rules.values()):
                await self._look(yaml)
            try:
                answer = await send()
                undecided = answer.status == 202
            except asyncio.CancelledError:
                undecided = True
                raise
            return answer
        finally:
            if undecided:
                task = asyncio.create_task(self._follow(admin_id, command_id, waiter), name="rules-under-way")
                self._followed.add(task)
                task.add_done_callback(self._followed.discard)
            else:
                self._done(admin_id, command_id, waiter)

    async def _look(self, yaml: str) -> None:
        findings = await self._desk.check(yaml)
        if any(finding["severity"] == "error" for finding in findings):
            problem = refusal(Code.RULES_INVALID.value, None)
            problem.findings = list(findings)
            raise problem

    async def _follow(self, admin_id: str, command_id: str, waiter: Waiter) -> None:
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(UNDECIDED_SECONDS):
                    await waiter.next()
        finally:
            self._done(admin_id, command_id, waiter)

    def _done(self, admin_id: str, command_id: str, waiter: Waiter) -> None:
        self._under_way.discard(admin_id)
        self._decisions.forget(command_id, waiter)
