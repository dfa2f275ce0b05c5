"""PostgreSQL in memory, as the projector and the gateway see it: it can be away, fail half-way, or do it and not say so."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from agents.projector.batch import Batch
from agents.projector.ports import Unavailable, Verdict, judge
from gateway.http.problems import unavailable
from gateway.sql import commands, requests
from ops.simulation.loop import VirtualLoop
from ops.simulation.tables import Tables

#: Longest time in s until a statement is carried out, and until its answer is back.
_ON_THE_WAY = 0.2


class MemoryDatabase:
    """`agents.projector.ports.ReadSide`, and what a gateway asks of `gateway.sql.database.Database`.

    A statement that was sent is carried out even if its sender dies meanwhile. `committed` is told of every commit.
    """

    def __init__(self, loop: VirtualLoop, rng: random.Random, faults: Counter[str]) -> None:
        self.tables = Tables()
        self.backup: Tables | None = None
        self.promised: dict[str, str] = {}
        self.down = False
        #: Fates of the statements to come: "rolled back" or "answer lost".
        self.fates: list[str] = []
        self.committed: Callable[[dict[int, int], list[Any]], None] = lambda before, columns: None
        self._loop = loop
        self._rng = rng
        self._faults = faults
        self._known: dict[str, Callable[..., dict[str, Any] | None]] = {
            commands._BY_ID: self._command,
            requests._ONE: self._request,
        }

    async def offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        await self._travel()
        self._must_answer()
        return {partition: self.tables.offsets.setdefault(partition, 0) for partition in sorted(partitions)}

    async def write(self, batch: Batch) -> Verdict:
        answer: asyncio.Future[Verdict] = self._loop.create_future()
        self._loop.call_later(self._delay(), self._execute, batch.columns(), answer)
        found = await answer
        await self._travel()
        return found

    def _execute(self, columns: list[Any], answer: asyncio.Future[Verdict]) -> None:
        try:
            self._must_answer()
            fate = self.fates.pop() if self.fates else "committed"
            if fate != "committed":
                self._faults[f"database: {fate}"] += 1
            verdict = self.transaction(columns, fate)
            if fate == "answer lost":
                raise Unavailable("the connection broke before the answer came")
            found = judge(verdict)
        except Exception as error:  # to whoever waits, as a driver does
            if not answer.done():
                answer.set_exception(error)
        else:
            if not answer.done():
                answer.set_result(found)

    def transaction(self, columns: list[Any], fate: str) -> dict[str, Any]:
        """Rows and offsets in one transaction."""
        if fate == "rolled back":
            self.tables.copy().apply(columns)
            raise Unavailable("the server ended the session before the commit")
        offsets = dict(self.tables.offsets)
        verdict = self.tables.apply(columns)
        if self.tables.offsets != offsets:
            self.committed(offsets, columns)
        return verdict

    async def row(self, statement: str, *values: Any) -> dict[str, Any] | None:
        """The gateway's statements that the simulator knows."""
        await self._travel()
        if self.down:
            raise unavailable("The database cannot be reached.")
        return self._known[statement](*values)

    async def value(self, statement: str, *values: Any) -> Any:
        await self._travel()
        if self.down:
            raise unavailable("The database cannot be reached.")
        if statement == commands._PROMISE:
            self.promised.setdefault(*values)
            return None
        assert statement == commands._PROMISED, statement
        return self.promised.get(values[0])

    def _command(self, id_: str, user_id: str) -> dict[str, Any] | None:
        found = self.tables.commands.get(id_)
        if found is None or found[0] != user_id:
            return None
        return {
            "request_id": found[1],
            "outcome": found[2],
            "code": found[3],
            "version": found[4],
            "actor_id": found[0],
        }

    def _request(
        self, id_: str, sees_all: bool, user_id: str, is_manager: bool, principals: list[str]
    ) -> dict[str, Any] | None:
        found = self.tables.requests.get(id_)
        if found is None:
            return None
        involved = is_manager and any((id_, one) in self.tables.participants for one in principals)
        visible = sees_all or found[2] == user_id or involved
        return {"version": found[0], "document": found[7]} if visible else None

    def _must_answer(self) -> None:
        if self.down:
            raise Unavailable("nothing answers")

    def _delay(self) -> float:
        return self._rng.random() * _ON_THE_WAY

    async def _travel(self) -> None:
        if self._rng.random() < 0.5:
            await asyncio.sleep(self._delay())
