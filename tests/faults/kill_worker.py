"""Kills the worker under load, again and again, and looks for what was lost or done twice.

    python -m tests.faults.kill_worker --commands 20000 --kills 3

The driver keeps its own book of what the gateway acknowledged; afterwards the invariants of `quality.md` are read from log
and database. Exit code 0: all hold, and every partition decided again within 15 s of each kill.
"""

# ruff: noqa: T201, ASYNC110 - a program that prints its findings, and watches a counter and a file

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from dataclasses import dataclass, field

from ops.stack.home import Home
from schemas import topics
from tests import invariants, stack
from tests.faults.load import Load, Tally

#: What the product promises from a kill to the next decision on every partition, in seconds.
RECOVERED_WITHIN = 15.0


@dataclass
class Report:
    """What came out; `recovery` has one entry per kill: seconds to the first decision on each partition."""

    tally: Tally = field(default_factory=Tally)
    kills: list[float] = field(default_factory=list)
    recovery: list[dict[int, float | None]] = field(default_factory=list)
    found: invariants.Found = field(default_factory=invariants.Found)
    seconds: float = 0.0

    @property
    def wrong(self) -> list[str]:
        """Every finding as a sentence."""
        slow = [
            f"kill {number}: partition {partition} decided again after {'no time at all' if s is None else f'{s:.1f} s'}"
            for number, times in enumerate(self.recovery, start=1)
            for partition, s in times.items()
            if s is None or s > RECOVERED_WITHIN
        ]
        return self.found.problems + self.tally.failures + slow


async def kill_under_load(home: Home, commands: int, kills: int, lanes: int = 24, seed: int = 1) -> Report:
    """Drive the stack, kill its worker `kills` times, and check what is left."""
    began = time.monotonic()
    report = Report()
    async with Load(home, seed, commands=commands) as load:
        report.tally = load.tally
        killer = asyncio.create_task(_kill(home, report, commands, kills))
        try:
            await load.run(lanes)
            await killer
        finally:
            killer.cancel()
    report.seconds = time.monotonic() - began
    report.found = await invariants.check(home, load.book)
    report.recovery = await _recovery(home, report.kills)
    return report


async def _kill(home: Home, report: Report, commands: int, kills: int) -> None:
    for number in range(1, kills + 1):
        while report.tally.acknowledged < commands * number / (kills + 1):
            await asyncio.sleep(0.02)
        pid = home.endpoints()["pids"]["worker"]
        report.kills.append(time.time())
        os.kill(pid, signal.SIGKILL)
        print(f"kill {number}: worker {pid} after {report.tally.acknowledged} commands", file=sys.stderr, flush=True)
        while home.endpoints()["pids"]["worker"] == pid:
            await asyncio.sleep(0.05)


async def _recovery(home: Home, kills: list[float]) -> list[dict[int, float | None]]:
    """Seconds from each kill to the first outcome afterwards, by partition; outcomes have the broker's append time."""
    times: dict[int, list[float]] = {}
    for record in await invariants.read(home.kafka, topics.OUTCOMES):
        if record.value and record.value.startswith(b"{"):
            times.setdefault(record.partition, []).append(record.timestamp / 1000)
    found = []
    for killed in kills:
        # What was in flight when the signal came may still have been appended.
        after = {partition: [at for at in ats if at > killed + 0.25] for partition, ats in times.items()}
        found.append({partition: min(ats) - killed if ats else None for partition, ats in sorted(after.items())})
    return found


def show(report: Report) -> None:
    """Print the figures and every finding."""
    found = report.found
    print(
        f"commands acknowledged   {report.tally.acknowledged} in {report.seconds:.0f} s, "
        f"{report.tally.promised} of them by 202 first"
    )
    print(f"tries repeated          {report.tally.retried}")
    print(f"lost                    {found.lost}")
    print(f"doubled                 {found.doubled}")
    print(f"requests                {found.requests}")
    broken = sum(1 for text in found.problems if text.startswith("6:"))
    print(
        f"chains whole            {found.chains} chains, {found.records} records"
        if not broken
        else f"chains BROKEN           {broken} findings"
    )
    for number, times in enumerate(report.recovery, start=1):
        shown = ", ".join(f"{partition}: {'never' if s is None else f'{s:.1f} s'}" for partition, s in times.items())
        print(f"kill {number}, next decision   {shown}")
    for text in report.wrong[:50]:
        print(f"WRONG {text}")
    print(f"{len(report.wrong)} findings" if report.wrong else "all invariants hold")


def main() -> int:
    """Exit code 0 all well, 1 something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kill_worker", description=__doc__)
    parser.add_argument("--commands", type=int, default=20000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--lanes", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--home", metavar="DIR", default=None, help="a running stack; otherwise one of its own")
    arguments = parser.parse_args()

    def run(home: Home) -> Report:
        return asyncio.run(kill_under_load(home, arguments.commands, arguments.kills, arguments.lanes, arguments.seed))

    if arguments.home is not None:
        report = run(Home(arguments.home))
    else:
        with stack.own(ATHENA_RATE_LIMITS="off") as own:
            report = run(own.home)
    show(report)
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
