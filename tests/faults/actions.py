"""Every fault of `quality.md`, as something that is done to a running stack and ends."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from ops.stack.probes import status_of
from tests.faults.flow import Flow
from tests.faults.rig import SMALL_DISK, VISITOR, Rig, aside
from tests.faults.rogue import Rogue
from tests.stack import wait_until

#: Longer than the group's session time-out of 6 s: the partitions go to others.
SESSION_OVER = 8.0
TAKEN_OVER_WITHIN = 45.0
#: A process that is asked to stop has 10 s for it.
STOPPED_WITHIN = 11.0
ENDED_WITHIN = 45.0
#: What a worker logs when it has taken its shards, and shut every earlier owner out.
CLAIMED = "shards claimed"
#: A clock stays wrong, and a disk full, for so long at most, in seconds: twice as long as all who look at them take to look.
LONGEST_STEP = 12.0
#: What a worker logs when a newer owner has shut it out.
FENCED = "its store is wiped"


@dataclass
class Scene:
    """What a fault needs. `outage` is how long something stays away, in seconds; `problems` gets what should not have been, and
    `afterwards` what is to be looked at once all flows again."""

    rig: Rig
    flow: Flow
    rogue: Rogue
    dice: random.Random
    outage: float
    problems: list[str] = field(default_factory=list)
    afterwards: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    async def not_ready(self, fault: str) -> None:
        """`/readyz` says what is so."""
        status = await aside(status_of, f"{self.rig.home.gateway}/readyz", 8.0)
        if status == 200:
            self.problems.append(f"{fault}: /readyz was green in the middle of it")


#: Returns when the fault was over, by the wall clock; for a kill that is when it was done.
Fault = Callable[[Scene], Awaitable[float]]
FAULTS: dict[str, Fault] = {}


def fault(name: str) -> Callable[[Fault], Fault]:
    def add(made: Fault) -> Fault:
        FAULTS[name] = made
        return made

    return add


def _kill(process: str, number: signal.Signals) -> Fault:
    async def done(scene: Scene) -> float:
        await aside(scene.rig.signal, process, number)
        return time.time()

    return done


for _name in ("gateway", "worker", "projector", "kafka", "postgres"):
    fault(f"kill -9 {_name}")(_kill(_name, signal.SIGKILL))
fault("broker restarted")(_kill("kafka", signal.SIGTERM))
fault("postgres restarted")(_kill("postgres", signal.SIGINT))


@fault("kill -9 everything")
async def everything_killed(scene: Scene) -> float:
    await aside(scene.rig.kill_all)
    over = time.time()
    await aside(scene.rig.up)
    return over


async def _broker_away(scene: Scene, silent: bool) -> float:
    lines = scene.rig.kafka
    await aside(lines.swallow if silent else lines.refuse)
    await asyncio.sleep(scene.outage * 0.8)
    await scene.not_ready("broker unreachable")
    await asyncio.sleep(scene.outage * 0.2)
    await aside(lines.heal)
    return time.time()


@fault("broker refuses")
async def broker_refuses(scene: Scene) -> float:
    return await _broker_away(scene, silent=False)


@fault("broker silent")
async def broker_silent(scene: Scene) -> float:
    return await _broker_away(scene, silent=True)


async def _postgres_away(scene: Scene, silent: bool) -> float:
    lines = scene.rig.postgres
    await aside(lines.swallow if silent else lines.refuse)
    await asyncio.sleep(scene.outage * 0.8)
    await scene.not_ready("postgres away")
    await asyncio.sleep(scene.outage * 0.2)
    await aside(lines.heal)
    return time.time()


@fault("postgres refuses")
async def postgres_refuses(scene: Scene) -> float:
    return await _postgres_away(scene, silent=False)


@fault("postgres silent")
async def postgres_silent(scene: Scene) -> float:
    return await _postgres_away(scene, silent=True)


@fault("lines cut")
async def lines_cut(scene: Scene) -> float:
    """Connections that end in the middle of a message, on both servers."""
    for _ in range(3):
        await aside(scene.rig.kafka.cut)
        await aside(scene.rig.postgres.cut)
        await asyncio.sleep(1.0)
    return time.time()


@fault("lines slow")
async def lines_slow(scene: Scene) -> float:
    await aside(scene.rig.kafka.delay, 0.15)
    await aside(scene.rig.postgres.delay, 0.15)
    await asyncio.sleep(min(scene.outage, LONGEST_STEP) / 2)
    await aside(scene.rig.kafka.heal)
    await aside(scene.rig.postgres.heal)
    return time.time()


@fault("store deleted")
async def store_deleted(scene: Scene) -> float:
    await aside(scene.rig.lose_store, scene.dice.choice(("worker", SMALL_DISK)))
    return time.time()


@fault("disk full")
async def disk_full(scene: Scene) -> float:
    before = scene.rig.process(SMALL_DISK)
    await aside(scene.rig.fill_disk)
    full_at = time.monotonic()
    while (now := scene.rig.process(SMALL_DISK)) is not None and now == before:
        if time.monotonic() - full_at > min(scene.outage, LONGEST_STEP):
            # Its files had room left: what it does at its next start is seen all the same.
            await aside(scene.rig.signal, SMALL_DISK, signal.SIGKILL)
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(min(scene.outage, LONGEST_STEP) / 2)
    await aside(scene.rig.free_disk)
    return time.time()


@fault("worker joins")
async def worker_joins(scene: Scene) -> float:
    """Over once it decides; how long the others stood still for it is the longest gap."""
    await aside(scene.rig.dismiss, signal.SIGTERM)
    await aside(scene.rig.invite)
    return time.time()


@fault("worker leaves")
async def worker_leaves(scene: Scene) -> float:
    took = await aside(scene.rig.dismiss, signal.SIGTERM)
    if took is None:
        await aside(scene.rig.invite)
        took = await aside(scene.rig.dismiss, signal.SIGTERM)
    if took > STOPPED_WITHIN:
        scene.problems.append(f"worker leaves: {VISITOR} took {took:.0f} s to stop")
    return time.time()


async def _taken_over(scene: Scene, name: str, since: float) -> None:
    if await scene.flow.decides(since, TAKEN_OVER_WITHIN) is None:
        scene.problems.append(f"{name}: nobody took its partitions over within {TAKEN_OVER_WITHIN:.0f} s")


async def _hold_a_batch(scene: Scene, process: str) -> None:
    """Leave the worker with batches on their way: sent, and held on the line. Each takes several round trips of 0.6 s then."""
    await aside(scene.rig.kafka[process].delay, 0.3)
    await asyncio.sleep(1.5)
    await aside(scene.rig.kafka[process].swallow)


def _must_end(scene: Scene, name: str, process: str) -> None:
    """The zombie must not live on with what it had: it is fenced and ends, or finds out by itself and claims anew."""
    before, claims = scene.rig.process(process), scene.rig.said(process, CLAIMED)

    def begun_anew() -> bool:
        return scene.rig.process(process) != before or scene.rig.said(process, CLAIMED) > claims

    async def look() -> None:
        try:
            await aside(wait_until, begun_anew, ENDED_WITHIN, "begun anew")
        except AssertionError:
            scene.problems.append(
                f"{name}: the zombie {process} neither ended nor claimed anew within {ENDED_WITHIN:.0f} s"
            )

    scene.afterwards.append(look)


@fault("worker frozen")
async def worker_frozen(scene: Scene) -> float:
    """It freezes with batches on their way, others take over, and it comes back as a zombie whose batches arrive then."""
    process = scene.dice.choice(("worker", SMALL_DISK))
    await _hold_a_batch(scene, process)
    await aside(scene.rig.signal, process, signal.SIGSTOP)
    frozen = time.time()
    await asyncio.sleep(SESSION_OVER)
    await _taken_over(scene, "worker frozen", frozen)
    _must_end(scene, "worker frozen", process)
    await aside(scene.rig.kafka[process].heal)
    await aside(scene.rig.signal, process, signal.SIGCONT)
    return time.time()


@fault("worker cut off")
async def worker_cut_off(scene: Scene) -> float:
    """It lives, but its line to the broker is silent for so long that others take over."""
    process = scene.dice.choice(("worker", SMALL_DISK))
    await _hold_a_batch(scene, process)
    silent = time.time()
    await asyncio.sleep(SESSION_OVER)
    await _taken_over(scene, "worker cut off", silent)
    _must_end(scene, "worker cut off", process)
    await aside(scene.rig.kafka[process].heal)
    return time.time()


def _clock(process: str, hours: float) -> Fault:
    async def done(scene: Scene) -> float:
        scene.rig.step_clock(process, hours * 3600)
        await asyncio.sleep(min(scene.outage, LONGEST_STEP))
        scene.rig.step_clock(process, 0.0)
        return time.time()

    return done


for _name in ("gateway", "worker", "projector"):
    fault(f"clock of {_name} +1 h")(_clock(_name, 1.0))
    fault(f"clock of {_name} -1 h")(_clock(_name, -1.0))


@fault("commands repeated")
async def commands_repeated(scene: Scene) -> float:
    await scene.rogue.repeat(scene.flow.recent)
    return time.time()


@fault("commands delayed")
async def commands_delayed(scene: Scene) -> float:
    """Old ones, long decided, come late."""
    await scene.rogue.repeat(scene.flow.old, shuffled=True, spaced=0.03)
    return time.time()


@fault("commands reordered")
async def commands_reordered(scene: Scene) -> float:
    await scene.rogue.repeat(scene.flow.recent, shuffled=True)
    return time.time()


@fault("commands truncated")
async def commands_truncated(scene: Scene) -> float:
    await scene.rogue.truncate(scene.flow.recent)
    return time.time()


@fault("garbage")
async def garbage(scene: Scene) -> float:
    await scene.rogue.garbage(int(scene.rig.home.choices()["partitions"]))
    return time.time()
