"""After each rebalance: claim the shards, restore their tables, open them. Takes the place of Faust's recovery.

Faust's own reads changelogs record by record, and only logs what goes wrong; here any failure ends the process. All of it runs
in the recovery task, not in the rebalance callback: the group's heartbeats stop while a callback runs, and only then.

Wraps `Recovery._restart_recovery`, `.on_recovery_completed` and `TableManager.recovery` of faust-streaming 0.15.3.
"""

from __future__ import annotations

from typing import Any

from aiokafka.errors import IllegalStateError
from faust.tables import TableManager
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped
from mode import Service

from agents.exits import EXIT_FAILED, die
from agents.restore import Changelog, Restore
from agents.rocks import LocalCopy
from agents.takeover import Takeover


class ShardRecovery(Recovery):  # type: ignore[misc]
    """One run per rebalance; the next rebalance interrupts it and begins anew with what is ours then."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Changes while tables are restored.
        self.progress = 0
        self._takeover = Takeover(self.app.host, self._restore_assigned, die)

    async def on_rebalance(self, assigned: Any, revoked: Any, newly_assigned: Any, generation_id: int = 0) -> None:
        if generation_id == self.app.consumer_generation_id:
            # Else the next rebalance is under way already, and Faust begins no recovery either.
            self._takeover.assign(assigned)
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

    def on_partitions_revoked(self, revoked: Any) -> None:
        self._takeover.revoke()

    async def interrupt(self) -> None:
        """Return once nothing uses the tables any more."""
        await self._takeover.interrupt()

    @Service.task  # type: ignore[untyped-decorator]
    async def _restart_recovery(self) -> None:
        while not self.should_stop:
            if await self.wait_for_stopped(self.signal_recovery_start):
                return
            self.signal_recovery_start.clear()
            generation = self._generation_id
            try:
                self._set_recovery_started()
                if await self._takeover.run():
                    await self.on_recovery_completed(generation)
            except (RebalanceAgain, IllegalStateError):
                continue
            except ServiceStopped as error:
                if not self.should_stop:
                    die("reading could not begin after the tables were restored", EXIT_FAILED, error)
            except Exception as error:
                die("the tables could not be restored", EXIT_FAILED, error)

    @Service.task  # type: ignore[untyped-decorator]
    async def _slurp_changelogs(self) -> None:
        """Nothing comes this way: Faust's consumer never reads a changelog."""

    def _progressed(self, records: int) -> None:
        self.progress += records

    def _restore_assigned(self) -> Restore:
        tables = self.tables._changelogs
        changelogs = [
            Changelog(tp.topic, tp.partition, LocalCopy(tables[tp.topic], tp.partition))
            for tp in sorted(self.active_tps)
        ]
        return Restore(self.app.kafka, changelogs, self._progressed)


class ShardTables(TableManager):  # type: ignore[misc]
    """Faust's tables, recovered by `ShardRecovery`."""

    _recovery: ShardRecovery | None = None

    @property
    def recovery(self) -> ShardRecovery:
        if self._recovery is None:
            self._recovery = ShardRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

    async def on_rebalance(self, assigned: Any, revoked: Any, newly_assigned: Any, generation_id: int = 0) -> None:
        await self.recovery.interrupt()
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

    async def on_stop(self) -> None:
        await self.recovery.interrupt()
        await super().on_stop()
