"""How many commands a worker process decides in a second, through its Faust agent with everything on, and what each costs.

All commands of a run are built first, and then appended to the log in a moment, in whole record batches. The clock runs from
before the first append to when `athena.outcomes` has an outcome for each. In the runs `alone` gateway, projector and
PostgreSQL stand still meanwhile (SIGSTOP), so that the worker has a core to itself; with `all` they read along.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import psutil

from ops.bench.experiments.options import Options
from ops.bench.fill import Progress, ask, send
from ops.bench.load import Load
from ops.bench.result import Cell, Result, Table, Target
from ops.bench.running import Meter, await_rules, bench_stack, disturbed_note, say, server_processes
from ops.stack.home import Home
from schemas import topics

APPROVALS = 3
READERS = ("gateway", "projector", "postgres")
#: Issue 7.
PER_SECOND, SAME_COST = 4000.0, 1.1
#: Longer than this nothing stands still: the projector must not lose its place in the group.
LONGEST_PAUSE = 25.0

COLUMNS = ["workers", "beside", "commands", "commands/s", "worker ms/command", "kafka ms/command", "all ms/command"]


def run(options: Options) -> Result:
    """One worker on 4 partitions, then four."""
    count = options.commands or options.pick(2_000, 16_000)
    rows: list[list[Cell]] = []
    notes: list[str] = []
    for workers in options.pick((1,), (1, 4)):
        with bench_stack(options.home, partitions=4, workers=workers) as home:
            found, shares = asyncio.run(
                _on(home, workers, count, options.pick(("all", "alone"), ("all", "alone", "alone")))
            )
            rows += found
            notes += disturbed_note(shares)
    alone = [row for row in rows if row[1] == "alone"]
    costs = {
        workers: min(float(row[4] or 0) for row in alone if row[0] == workers) for workers in {row[0] for row in alone}
    }
    targets = [
        Target(
            "commands/s of one worker",
            max(float(row[3] or 0) for row in alone if row[0] == 1),
            PER_SECOND,
            at_least=True,
        )
    ]
    if 4 in costs:
        targets.append(Target("CPU per command, four workers to one", round(costs[4] / costs[1], 3), SAME_COST))
    table = Table("Commands through the worker's agent", COLUMNS, rows, __doc__.partition("\n\n")[2].strip())
    return Result([table], targets=targets, notes=notes)


async def _on(home: Home, workers: int, count: int, runs: tuple[str, ...]) -> tuple[list[list[Cell]], dict[str, float]]:
    rows: list[list[Cell]] = []
    shares = {}
    await _rules_in_force(home)
    async with Progress(home) as progress:
        await _one(home, progress, 500, "all")
        for number, beside in enumerate(runs):
            say(f"worker: {count} commands, {workers} workers, beside: {beside}")
            seconds, cost, share = await _one(home, progress, count, beside)
            workers_ms = sum(value for name, value in cost.items() if name.startswith("worker"))
            per_command = [1000 * value / count for value in (workers_ms, cost["kafka"], sum(cost.values()))]
            rows.append([workers, beside, count, round(count / seconds), *(round(one, 3) for one in per_command)])
            shares[f"{workers} workers, {beside}, run {number + 1}"] = share
    return rows, shares


async def _rules_in_force(home: Home) -> None:
    load = Load(home.endpoints()["gateway"], home.trust)
    await load.open()
    try:
        await await_rules(load)
    finally:
        await load.close()


async def _one(home: Home, progress: Progress, count: int, beside: str) -> tuple[float, dict[str, float], float]:
    """Seconds, CPU seconds by process, and the share that others took."""
    requests = max(1, count // (APPROVALS + 1))
    wanted = await asyncio.to_thread(ask, uuid.uuid4().hex, range(requests), progress.partitions, APPROVALS)
    before, applied = await progress.end(topics.OUTCOMES), await progress.applied()
    roots = server_processes(home)
    stopped = {name: roots[name] for name in READERS} if beside == "alone" else {}
    with standing_still(stopped.values()):
        meter, began = Meter(roots), time.perf_counter()
        await send(home.kafka, wanted)
        async with asyncio.timeout(LONGEST_PAUSE if stopped else None):
            await progress.reach(lambda: progress.end(topics.OUTCOMES), before + wanted.count)
        seconds = time.perf_counter() - began
        cost = meter.document()
    await progress.reach(progress.applied, applied + wanted.count)
    return seconds, cost["cpu_s"], cost["other_share"]


@contextmanager
def standing_still(pids: Iterable[int]) -> Iterator[None]:
    """The processes and their children get no CPU meanwhile."""
    family = [one for pid in list(pids) for one in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))]
    for one in family:
        os.kill(one.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for one in family:
            if one.is_running():
                os.kill(one.pid, signal.SIGCONT)
