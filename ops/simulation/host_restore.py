"""The restore of tables from their changelogs: whole fetches, in a thread that sees only between them that it is to stop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from functools import partial

from agents.host_ports import Key, Unreachable
from agents.restore import STALL_LIMIT_S
from agents.topology import CHANGELOGS, TABLES
from ops.simulation.broker import Broker, Row
from ops.simulation.host_network import Network
from ops.simulation.host_world import Disk

#: A fetch that brings nothing for so long is tried again.
POLL_S = 2.0


class SimulatedRestore:
    """See `agents.restore.Restore`."""

    def __init__(
        self,
        broker: Broker,
        network: Network,
        keys: Iterable[Key],
        disk: Callable[[Key, str], Disk],
        rng: random.Random,
    ) -> None:
        self._broker = broker
        self._network = network
        self._behind = {
            (CHANGELOGS[table], number): disk((topic, number), table)
            for topic, number in sorted(keys)
            for table in TABLES[topic]
        }
        self._rng = rng
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    async def run(self) -> bool:
        ends = await self._network.ask(lambda: {place: self._broker.end(*place) for place in self._behind})
        now = asyncio.get_running_loop().time
        moved = now()
        while behind := [place for place, disk in self._behind.items() if disk.offset + 1 < ends[place]]:
            if self._stopped:
                return False
            place = self._rng.choice(behind)
            disk = self._behind[place]
            try:
                disk.replay(await self._network.ask(partial(self._rows, place, disk.offset + 1), POLL_S))
                moved = now()
            except Unreachable as error:
                if now() - moved > STALL_LIMIT_S:
                    raise TimeoutError("changelogs: nothing came") from error
        return True

    def _rows(self, place: Key, start: int) -> list[Row]:
        return self._broker.rows(*place)[start : start + self._rng.randint(1, 40)]
