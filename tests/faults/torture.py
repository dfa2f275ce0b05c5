"""Breaks a real stack in every way that `quality.md` names, under load, and compares the books afterwards.

    python -m tests.faults.torture --minutes 30 --seed 1

Faults come one after the other in seeded random order, every kind once a round. At the end they stop, everything must finish, and
the invariants are read from log and database. Exit code 0: nothing lost, nothing twice, every fault recovered from in time.
"""

# ruff: noqa: T201 - a program that prints its findings

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests import invariants
from tests.faults.actions import FAULTS, FENCED, Scene
from tests.faults.flow import Flow
from tests.faults.load import Load, Tally
from tests.faults.rig import WINDOW, WORKER_NAMES, Rig, rig
from tests.faults.rogue import Rogue

#: Commands per second over all lanes, and the people who send them.
RATE = 25.0
LANES = 16
#: From a fault's end to decisions on every partition, answers, a green `/readyz` and a read side that has it all, in seconds.
RECOVERED_WITHIN = 30.0
#: When this has passed the fault counts as not recovered from.
GIVEN_UP_AFTER = 120.0
#: An outage lasts this long in a run of 30 minutes; in a shorter one it is shorter, but longer than every client's retries.
LONGEST_OUTAGE, SHORTEST_OUTAGE = 60.0, 8.0
SETTLED_WITHIN = 240.0
FULL_RUN_MINUTES, FULL_RUN_HITS = 30.0, 3

#: What comes, in order: tuples of faults that come at once. Told the dice of the run.
Rounds = Callable[[random.Random], Iterator[tuple[str, ...]]]


@dataclass
class Hit:
    """One fault that came: how long until each sign of life, in seconds."""

    name: str
    recovery: dict[str, float | None]
    gap: float

    @property
    def seconds(self) -> float | None:
        """The slowest of them, None when one never came."""
        known = [one for one in self.recovery.values() if one is not None]
        return max(known) if len(known) == len(self.recovery) else None


@dataclass
class Report:
    """What came out. `limit` is how long a recovery may take, in seconds; `samples` counts how often the read side was compared
    with the end of the log, `fenced` how often a worker was shut out by a newer owner and wiped its store.
    """

    limit: float = RECOVERED_WITHIN
    hits: list[Hit] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    found: invariants.Found = field(default_factory=invariants.Found)
    problems: list[str] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)
    samples: int = 0
    fenced: int = 0
    seconds: float = 0.0

    @property
    def wrong(self) -> list[str]:
        """Every finding as a sentence."""
        slow = [
            f"{hit.name}: not recovered within {self.limit:.0f} s: "
            + ", ".join(f"{sign} {_shown(seconds)}" for sign, seconds in hit.recovery.items())
            for hit in self.hits
            if hit.seconds is None or hit.seconds > self.limit
        ]
        return self.found.problems + self.problems + self.tally.failures + slow


async def torture(
    broken: Rig, seed: int, rounds: Rounds, outage: float, *, rate: float = RATE, limit: float = RECOVERED_WITHIN,
    say: Callable[[str], None] = lambda text: None,
) -> Report:  # fmt: skip
    """Fault after fault under load, until `rounds` has no more; those of one tuple come at once. Then the books are compared."""
    report, dice, began = Report(limit), random.Random(seed), time.monotonic()
    async with (
        Load(broken.home, seed, rate=rate, settled_within=SETTLED_WITHIN) as load,
        Flow(broken.home, load, seed) as flow,
    ):
        report.tally = load.tally
        scene = Scene(broken, flow, Rogue(broken.home.kafka, dice), dice, outage)
        driving = asyncio.create_task(load.run(LANES))
        try:
            if await flow.decides(time.time(), 30) is None:
                report.problems.append("the load did not reach every partition within 30 s")
            for together in rounds(dice):
                await _hit(together, scene, report, began, say)
        finally:
            await asyncio.to_thread(broken.heal)
            load.stop()
            say(f"{_clock(began)} faults stop; what was promised is waited for")
            done, _ = await asyncio.wait({driving}, timeout=SETTLED_WITHIN + 60)
            driving.cancel()
            await asyncio.gather(driving, return_exceptions=True)
        if not done:
            report.problems.append("the load did not end: commands without an outcome")
        elif (error := driving.exception()) is not None:
            report.problems.append(f"the load failed: {error!r}")
        if not await flow.windows_close(WINDOW + invariants.SWEEP_GRACE):
            report.problems.append("5: rollback windows stayed open after their time")
        report.problems += flow.problems + scene.problems
        report.samples = flow.samples
        report.fenced = sum(broken.said(name, FENCED) for name in WORKER_NAMES)
        report.found = await invariants.check(broken.home, load.book, scene.rogue.bad)
        report.memory = broken.rss()
    report.seconds = time.monotonic() - began
    return report


def until(minutes: float, hits: int, kinds: Iterable[str]) -> Rounds:
    """Every kind once a round, in random order, until the minutes are over and each came `hits` times."""

    def rounds(dice: random.Random) -> Iterator[tuple[str, ...]]:
        began, names = time.monotonic(), list(kinds)
        for number in count():
            dice.shuffle(names)
            for name in names:
                if number >= hits and time.monotonic() - began > minutes * 60:
                    return
                yield (name,)

    return rounds


async def _hit(
    together: tuple[str, ...], scene: Scene, report: Report, began: float, say: Callable[[str], None]
) -> None:
    came = time.time()
    done = await asyncio.gather(*(FAULTS[name](scene) for name in together), return_exceptions=True)
    over = max((one for one in done if isinstance(one, float)), default=time.time())
    for name, error in zip(together, done, strict=True):
        if isinstance(error, BaseException):
            report.problems.append(f"{name}: the fault could not be made, or the stack did not come back: {error!r}")
            await asyncio.to_thread(scene.rig.heal)
            over = time.time()
    recovery = await scene.flow.recovers(over, GIVEN_UP_AFTER)
    while scene.afterwards:
        await scene.afterwards.pop()()
    gap = scene.flow.longest_gap(came, time.time())
    report.hits += [Hit(name, recovery, gap) for name in together]
    signs = ", ".join(f"{sign} {_shown(seconds)}" for sign, seconds in recovery.items())
    memory = ", ".join(
        f"{process} {size}" for process, size in scene.rig.rss().items() if process not in ("kafka", "postgres")
    )
    say(
        f"{_clock(began)} {' + '.join(together):<22} {signs}; longest gap {gap:.1f} s; "
        f"{report.tally.acknowledged} commands; MB: {memory}"
    )


def table(report: Report) -> str:
    """Faults, how often each came, and the worst time from its end to full recovery."""
    lines = ["| fault | hits | worst recovery | decisions | read side | longest gap |", "|---|---|---|---|---|---|"]
    for name in sorted({hit.name for hit in report.hits}):
        hits = [hit for hit in report.hits if hit.name == name]
        worst = [None if any(v is None for v in found) else max(found) for found in (
            [hit.seconds for hit in hits],
            [hit.recovery["decisions"] for hit in hits],
            [hit.recovery["read side"] for hit in hits],
        )]  # fmt: skip
        lines.append(
            f"| {name} | {len(hits)} | {' | '.join(map(_shown, worst))} | {_shown(max(hit.gap for hit in hits))} |"
        )
    return "\n".join(lines)


def show(report: Report) -> None:
    """Print the table, the figures and every finding."""
    found, tally = report.found, report.tally
    print(table(report))
    print(f"\nran                     {report.seconds:.0f} s, {len(report.hits)} faults")
    print(f"commands acknowledged   {tally.acknowledged}, {tally.promised} by 202 first")
    print(f"tries repeated          {tally.retried}, {tally.refused_at_door} of them after a 503")
    print(f"slowest answer          {tally.slowest:.1f} s")
    print(f"lost, doubled           {found.lost}, {found.doubled}")
    print(f"requests                {found.requests} in {found.chains} chains of {found.records} records")
    print(f"dead letters            {found.dead_letters}")
    print(f"zombies fenced          {report.fenced}")
    print(f"memory, MB              {', '.join(f'{name} {size}' for name, size in report.memory.items())}")
    for text in report.wrong[:60]:
        print(f"WRONG {text}")
    print(f"{len(report.wrong)} findings" if report.wrong else "the books are equal; all invariants hold")


def outage_of(minutes: float) -> float:
    """How long a server stays away in a run of that length, in seconds."""
    return min(LONGEST_OUTAGE, max(SHORTEST_OUTAGE, LONGEST_OUTAGE * minutes / FULL_RUN_MINUTES))


def _shown(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s"


def _clock(began: float) -> str:
    passed = int(time.monotonic() - began)
    return f"{passed // 60:3d}:{passed % 60:02d}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Exit code 0 all well, 1 something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=None, help="order of the faults and the load; else a random one")
    parser.add_argument("--rate", type=float, default=RATE, help="commands per second")
    parser.add_argument(
        "--only", action="append", metavar="FAULT", default=None, help="this kind alone; may be repeated"
    )
    parser.add_argument("--logs", type=Path, default=None, help="keep the processes' logs in this folder")
    arguments = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells of every broken line
    seed = random.randrange(1_000_000) if arguments.seed is None else arguments.seed
    kinds = list(FAULTS) if arguments.only is None else arguments.only
    if unknown := set(kinds) - set(FAULTS):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}. There are: {', '.join(FAULTS)}")
    command = f"python -m tests.faults.torture --minutes {arguments.minutes:g} --seed {seed} --rate {arguments.rate:g}"
    command += "".join(f' --only "{name}"' for name in arguments.only or ())
    _say(f"seed {seed}; again: {command}")
    with rig(arguments.logs) as broken:
        report = asyncio.run(
            torture(
                broken,
                seed,
                until(arguments.minutes, FULL_RUN_HITS if arguments.minutes >= FULL_RUN_MINUTES else 1, kinds),
                outage_of(arguments.minutes),
                rate=arguments.rate,
                say=_say,
            )
        )
    show(report)
    print(f"again: {command}")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
