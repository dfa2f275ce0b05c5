"""Watches a stack from outside, on the servers' own addresses: when decisions flow, and that the read side is never ahead."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import defaultdict, deque
from itertools import pairwise
from typing import Any

import asyncpg
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from ops.stack.home import Home
from ops.stack.probes import status_of
from schemas import topics
from tests.faults.load import Load

#: What was in flight when a fault came may still have been appended so long after it, in seconds.
IN_FLIGHT = 0.25
SAMPLE_EVERY = 1.0
KEPT_COMMANDS = 3000


class Flow:
    """Follows `athena.outcomes` and `athena.commands`. Times are seconds of the wall clock, which the broker shares."""

    def __init__(self, home: Home, load: Load, seed: int) -> None:
        self._home = home
        self._load = load
        self._dice = random.Random(seed)
        self._partitions = int(home.choices()["partitions"])
        self._positions: dict[TopicPartition, int] = {}
        self._decided: dict[int, deque[float]] = defaultdict(lambda: deque(maxlen=20_000))
        self._tasks: list[asyncio.Task[None]] = []
        #: Commands as they are in the log, the first and the newest of them, for who repeats them.
        self.old: list[ConsumerRecord] = []
        self.recent: deque[ConsumerRecord] = deque(maxlen=500)
        self.problems: list[str] = []
        self.samples = 0

    async def __aenter__(self) -> Flow:
        self._tasks = [asyncio.create_task(work()) for work in (self._follow, self._compare)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def decided_after(self, moment: float) -> list[float | None]:
        """For each partition when its first outcome after that moment was appended."""
        return [
            next((at for at in list(self._decided[number]) if at > moment), None) for number in range(self._partitions)
        ]

    def longest_gap(self, begin: float, end: float) -> float:
        """The longest time in between in which some partition decided nothing."""
        worst = 0.0
        for number in range(self._partitions):
            times = [begin, *(at for at in self._decided[number] if begin < at < end), end]
            worst = max(worst, *(later - earlier for earlier, later in pairwise(times)))
        return worst

    async def decides(self, moment: float, seconds: float) -> float | None:
        """Wait until every partition has decided after that moment; how long after it that was, None after `seconds`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.decided_after(moment + IN_FLIGHT)
            if all(at is not None for at in found):
                return max(at for at in found if at is not None) - moment
            await asyncio.sleep(0.1)
        return None

    async def recovers(self, moment: float, seconds: float) -> dict[str, float | None]:
        """Seconds from that moment until every partition decided, clients had answers, the gateway said that it is ready, and
        the read side had all there was by then; None for what was not so within `seconds`."""
        deadline = time.monotonic() + seconds
        decisions = await self.decides(moment, seconds)
        await self._when(lambda: self._answered(moment) is not None, moment, deadline)
        ready = await self._when(self._ready, moment, deadline)
        ends = await self._ends(deadline)
        read_side = await self._when(lambda: self._applied(ends), moment, deadline)
        return {"decisions": decisions, "answers": self._answered(moment), "ready": ready, "read side": read_side}

    def _answered(self, moment: float) -> float | None:
        return next((at - moment for at in list(self._load.settled) if at > moment + IN_FLIGHT), None)

    async def _when(self, holds: Any, moment: float, deadline: float) -> float | None:
        while True:
            found = holds()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return max(0.0, time.time() - moment)
            if time.monotonic() > deadline:
                return None
            await asyncio.sleep(0.1)

    async def _ready(self) -> bool:
        return await asyncio.to_thread(status_of, f"{self._home.gateway}/readyz", 5.0) == 200

    async def _ends(self, deadline: float) -> dict[int, int]:
        while True:
            try:
                async with asyncio.timeout(10):
                    return await self._audit_ends()
            except (KafkaError, OSError, TimeoutError):
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.2)

    async def _audit_ends(self) -> dict[int, int]:
        consumer = self._home.kafka.consumer(enable_auto_commit=False)
        try:
            await consumer.start()
            assigned = [TopicPartition(topics.AUDIT, number) for number in range(self._partitions)]
            return {tp.partition: end for tp, end in (await consumer.end_offsets(assigned)).items()}
        finally:
            await consumer.stop()

    async def _offsets(self) -> dict[int, int]:
        connection = await asyncpg.connect(self._home.database_url("superuser"), timeout=5)
        try:
            rows = await connection.fetch("SELECT partition, next_offset FROM audit.applied_offsets", timeout=5)
            return {row["partition"]: row["next_offset"] for row in rows}
        finally:
            await connection.close(timeout=2)

    async def _applied(self, ends: dict[int, int]) -> bool:
        try:
            found = await self._offsets()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return all(found.get(number, 0) >= end for number, end in ends.items())

    async def windows_close(self, seconds: float) -> bool:
        """Wait until no rollback window is open any more on the read side; False when one still is after `seconds`."""
        statement = "SELECT count(*) FROM requests.requests WHERE status IN ('approved', 'rejected')"

        async def none_open() -> bool:
            connection = await asyncpg.connect(self._home.database_url("superuser"), timeout=5)
            try:
                return bool(await connection.fetchval(statement, timeout=5) == 0)
            finally:
                await connection.close(timeout=2)

        return await self._when(none_open, 0.0, time.monotonic() + seconds) is not None

    async def _compare(self) -> None:
        """7: the read side is never ahead of the log."""
        while True:
            await asyncio.sleep(SAMPLE_EVERY)
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, KafkaError):
                applied = await self._offsets()
                async with asyncio.timeout(10):
                    ends = await self._audit_ends()
                self.samples += 1
                for number, offset in applied.items():
                    if offset > ends[number]:
                        self.problems.append(
                            f"7: the read side is at {offset} of partition {number}, the log at {ends[number]}"
                        )

    async def _follow(self) -> None:
        names = (topics.OUTCOMES, topics.COMMANDS)
        assigned = [TopicPartition(name, number) for name in names for number in range(self._partitions)]
        while True:
            consumer = self._home.kafka.consumer(
                enable_auto_commit=False,
                fetch_max_wait_ms=100,
                request_timeout_ms=5000,
            )
            try:
                await consumer.start()
                consumer.assign(assigned)
                for tp in assigned:
                    consumer.seek(tp, self._positions.get(tp, 0))
                while True:
                    for tp, records in (await consumer.getmany(timeout_ms=500)).items():
                        self._positions[tp] = records[-1].offset + 1
                        self._take(tp, records)
            except (KafkaError, OSError, TimeoutError):
                await asyncio.sleep(0.3)
            finally:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(2):
                        await consumer.stop()

    def _take(self, tp: TopicPartition, records: list[ConsumerRecord]) -> None:
        if tp.topic == topics.OUTCOMES:
            self._decided[tp.partition].extend(record.timestamp / 1000 for record in records)
            return
        for record in records:
            self.recent.append(record)
            if len(self.old) < KEPT_COMMANDS:
                self.old.append(record)
