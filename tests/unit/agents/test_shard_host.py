"""The host between two assignments: what it opens, and what a worker leaves behind that has lost a shard."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, NoReturn

import orjson
import pytest

from agents.claim import Claim
from agents.exits import EXIT_FENCED
from agents.host import ShardHost
from agents.host_ports import Key, World
from agents.ports import Incoming
from agents.rounds import LONG_S, Rounds
from agents.runner import Arrived
from agents.topology import CHANGELOGS, TABLES
from ops.simulation.broker import Broker
from ops.simulation.host_network import Network
from ops.simulation.host_world import Disk, SimulatedCluster, SimulatedReference
from ops.simulation.organisation import fresh_broker, rules_in_force
from ops.simulation.shards import PARTITIONS
from schemas import topics
from schemas.envelope import derived_id

FIRST, SECOND = (topics.COMMANDS, 0), (topics.COMMANDS, 1)
REQUEST = derived_id("request", 1)


class Prompt(Network):
    """Answers at once, unless it is told to be away."""

    def _delay(self) -> float:
        return 0.0

    def away_for(self, seconds: float) -> None:
        self.away_until = asyncio.get_running_loop().time() + seconds


class Died(BaseException):
    """What `die` does to the task that calls it."""


class Process:
    """A host on a broker in memory; `deaths` holds the exit codes with which it would have ended."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.network = Prompt(random.Random(1))
        self.disks: dict[tuple[str, int], Disk] = {}
        self.deaths: list[int] = []
        reference = SimulatedReference(broker, self.network, random.Random(1))
        self.host = ShardHost(
            World(
                partitions=PARTITIONS,
                cluster=SimulatedCluster(broker, self.network, random.Random(1), lambda _: None),
                reference=reference,
                rules=lambda: rules_in_force(reference.catalog),
                store=lambda table, partition: self.disks.setdefault((table, partition), Disk()),
                generation=lambda: 1,
                die=self._die,
                now_ms=lambda: broker.clock.now,
            )
        )
        self.reference = reference

    def _die(self, reason: str, code: int, error: BaseException | None = None) -> NoReturn:
        self.deaths.append(code)
        raise Died(reason)

    def recover(self, key: Key) -> None:
        for table in TABLES[key[0]]:
            disk = self.disks.setdefault((table, key[1]), Disk())
            disk.replay(self.broker.rows(CHANGELOGS[table], key[1]))

    async def own(self, key: Key) -> None:
        await self.reference.start()
        await self.host.claim([key])
        self.recover(key)
        await self.host.open()
        assert list(self.host.runners) == [key]


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await work()

    asyncio.run(limited())


def submission(broker: Broker) -> Incoming:
    body = {
        "type": "SubmitRequest", "command_id": derived_id("command", 1), "request_id": REQUEST, "actor_id": "sam",
        "correlation_id": derived_id("command", 1), "category_id": "travel", "reason_id": "any", "title": "a",
        "amount": "50.00", "currency": "EUR",
    }  # fmt: skip
    return Incoming(*FIRST, 0, broker.clock.now, REQUEST.encode(), orjson.dumps(body), [])


def test_a_writer_that_is_fenced_during_a_rebalance_wipes_its_store_too() -> None:
    """What it holds may never have become part of the log; the next worker on this disk would decide on it."""

    async def work() -> None:
        broker = fresh_broker()
        old, new = Process(broker), Process(broker)
        await old.own(FIRST)
        acknowledged: list[int] = []
        old.network.away_for(0.3)
        await old.host.dispatch(FIRST, [Arrived(submission(broker), lambda: acknowledged.append(0))], 1)
        await asyncio.sleep(0.05)
        await new.own(FIRST)
        # The rebalance reaches the old owner while its batch is on its way: the shard is no longer among its runners.
        pausing = asyncio.create_task(old.host.pause())
        await asyncio.sleep(0.05)
        assert not old.host.runners and not pausing.done()
        with pytest.raises(Died):
            await pausing
        assert old.deaths == [EXIT_FENCED] and acknowledged == []
        assert [old.disks[table, 0].applied() for table in TABLES[FIRST[0]]] == [-1, -1, -1]

    run(work)


def test_a_newer_owner_met_while_claiming_wipes_the_store_as_well() -> None:
    """Two workers that claim at once would both keep their stores, and one of them is old."""

    async def work() -> None:
        broker = fresh_broker()
        old, new = Process(broker), Process(broker)
        await old.own(FIRST)
        await old.host.pause()
        ask, asked = old.network.ask, 0

        async def slow(apply: Callable[[], Any], timeout: float = 1.0) -> Any:
            nonlocal asked
            asked += 1
            answer = await ask(apply, timeout)
            if asked == 1:
                # It has its epoch, and nothing is fenced yet: now the other one comes.
                await new.own(FIRST)
            return answer

        old.network.ask = slow  # type: ignore[method-assign]
        with pytest.raises(Died):
            await old.host.claim([FIRST])
        assert old.deaths == [EXIT_FENCED]
        assert old.disks["requests", 0].applied() == -1

    run(work)


def test_opening_stops_when_another_claim_comes_meanwhile() -> None:
    """Shards of the last assignment would decide beside their new owner, on logs that are closed."""

    async def work() -> None:
        process = Process(fresh_broker())
        host = process.host
        await process.reference.start()
        await host.claim([FIRST])
        process.recover(FIRST)
        process.network.away_for(0.1)
        opening = asyncio.create_task(host.open())
        await asyncio.sleep(0.01)
        await host.claim([SECOND])
        await opening
        assert not host.runners and not host.opened.is_set()
        process.recover(SECOND)
        await host.open()
        assert list(host.runners) == [SECOND] and host.opened.is_set()

    run(work)


def test_a_recovery_that_ends_during_a_claim_opens_nothing() -> None:
    """Shards would be built before earlier owners are shut out, on tables that are not recovered."""

    async def work() -> None:
        process = Process(fresh_broker())
        host = process.host
        await process.own(FIRST)
        process.network.away_for(0.1)
        claiming = asyncio.create_task(host.claim([FIRST, SECOND]))
        await asyncio.sleep(0.01)
        await host.open()
        assert not host.runners and not host.opened.is_set()
        await claiming

    run(work)


def test_tables_that_do_not_hold_their_marker_are_not_opened() -> None:
    """Faust only logs an error of its recovery: state would be silently gone, and old state written over newer."""

    async def work() -> None:
        process = Process(fresh_broker())
        host = process.host
        await process.reference.start()
        await host.claim([FIRST])
        await host.open()
        assert not host.runners and not host.opened.is_set()
        process.recover(FIRST)
        await host.open()
        first = host.runners[FIRST]
        await host.open()
        assert host.runners[FIRST] is first, "once is enough"

    run(work)


def test_a_claim_that_failed_does_not_go_on() -> None:
    """It would shut our own next claim out: a worker that was never replaced wipes its store and ends."""

    async def work() -> None:
        claiming: list[str] = []

        class Slow:
            async def claim(self) -> dict[str, int]:
                claiming.append("slow")
                try:
                    await asyncio.sleep(5)
                finally:
                    claiming.remove("slow")
                return {}

            async def stop(self) -> None:
                return

        class Broken(Slow):
            async def claim(self) -> dict[str, int]:
                await asyncio.sleep(0)
                raise TimeoutError("the broker did not answer")

        logs: dict[Key, Any] = {FIRST: Slow(), SECOND: Broken()}
        cluster: Any = SimpleNamespace(shard_log=logs.__getitem__)
        with pytest.raises(TimeoutError):
            await Claim.of(cluster, [FIRST, SECOND], lambda key, error: None)
        assert claiming == []

    run(work)


def test_a_sweep_does_not_read_a_shard_that_was_given_up_while_another_ones_commands_were_sent() -> None:
    """Its table is closed then: a rebalance while windows close would end the worker."""

    class Due:
        def __init__(self) -> None:
            self.asked = 0

        def due(self, now_ms: int) -> list[str]:
            self.asked += 1
            return ["a command"]

    async def work() -> None:
        first, second = Due(), Due()
        host = SimpleNamespace(clock=SimpleNamespace(sane=True), opened=asyncio.Event(), sweeps={0: first, 1: second})
        host.opened.set()

        async def send(due: list[str]) -> None:
            host.sweeps = {}

        world: Any = SimpleNamespace(cluster=SimpleNamespace(send=send), now_ms=lambda: 0)
        hosted: Any = host
        await Rounds(world, hosted)._sweep()
        assert (first.asked, second.asked) == (1, 0)

    run(work)


def test_a_departure_is_looked_at_beside_people_s_commands_and_in_every_partition_in_turn() -> None:
    """One partition with a long list of requests keeps the others waiting, or votes wait behind all slices of a round."""

    class Looking:
        busy = False

        def __init__(self, partition: int) -> None:
            self.partition = partition

        def work(self, _now_ms: int, *, waiting: bool) -> list[str]:
            asked.append((self.partition, waiting))
            time.sleep(2 * LONG_S)
            asyncio.get_running_loop().call_soon(between.append, len(asked))
            return []

    asked: list[tuple[int, bool]] = []
    between: list[int] = []

    async def work() -> None:
        host: Any = SimpleNamespace(
            clock=SimpleNamespace(sane=True),
            opened=asyncio.Event(),
            restaffings={number: Looking(number) for number in range(3)},
            runners={(topics.COMMANDS, number): SimpleNamespace(waiting=7 * (number == 1)) for number in range(3)},
        )
        host.opened.set()
        world: Any = SimpleNamespace(now_ms=lambda: 0)
        rounds = Rounds(world, host)
        for _ in range(3):
            await rounds._restaff()

    run(work)
    assert [partition for partition, _ in asked] == [1, 2, 0, 2, 0, 1, 0, 1, 2]
    assert {partition for partition, waiting in asked if waiting} == {1}
    assert between == list(range(1, 10)), "what arrived meanwhile comes in between"
