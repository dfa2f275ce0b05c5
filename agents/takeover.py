"""What follows a rebalance: claim the shards, restore their tables, open them. Knows neither Faust nor Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import structlog

from agents.exits import EXIT_FAILED
from agents.host_ports import Die

log = structlog.get_logger(__name__)

#: A claim has 30 s; a restore stops within one write.
INTERRUPT_TIMEOUT_S = 60.0


class Claimant(Protocol):
    """See `agents.host.ShardHost`."""

    async def claim(self, assigned: Iterable[Any]) -> None: ...

    async def open(self) -> None: ...


class TableRestore(Protocol):
    """See `agents.restore.Restore`."""

    async def run(self) -> bool: ...

    def stop(self) -> None: ...


class Takeover:
    """One run per rebalance, which the next one interrupts. `restore` makes the restore of what is assigned by then."""

    def __init__(self, host: Claimant, restore: Callable[[], TableRestore], die: Die) -> None:
        self._host = host
        self._make_restore = restore
        self._die = die
        self._assigned: list[Any] = []
        self._restore: TableRestore | None = None
        self._revoked = True
        self._idle = asyncio.Event()
        self._idle.set()

    def assign(self, assigned: Iterable[Any]) -> None:
        """What the next run takes over. A revocation that comes before it begins leaves it nothing to do."""
        self._assigned, self._revoked = list(assigned), False

    def revoke(self) -> None:
        """What is under way is to end soon, and nothing begins until the next assignment."""
        self._revoked = True
        if self._restore is not None:
            self._restore.stop()

    async def interrupt(self) -> None:
        """Return once nothing uses the tables any more."""
        self.revoke()
        try:
            async with asyncio.timeout(INTERRUPT_TIMEOUT_S):
                await self._idle.wait()
        except TimeoutError as error:
            self._die("the recovery before this rebalance did not stop", EXIT_FAILED, error)

    async def run(self) -> bool:
        """False when a rebalance came meanwhile.

        Raises:
            Exception: a claim or a restore failed, and no rebalance was the reason; the process must end.
        """
        if self._revoked:
            return False
        self._idle.clear()
        try:
            try:
                await self._host.claim(self._assigned)
            except Exception as error:
                if not self._revoked:
                    raise
                log.warning("a claim ended in a rebalance, and is made again after it", error=repr(error))
            if self._revoked:
                return False
            self._restore = self._make_restore()
            if not await self._restore.run() or self._revoked:
                return False
            await self._host.open()
            return not self._revoked
        finally:
            self._restore = None
            self._idle.set()
