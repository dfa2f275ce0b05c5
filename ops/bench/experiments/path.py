"""The budget: what a completed request (submit, L1, L2, L3 over HTTP) costs in CPU, process by process, at C=32 (as it is, and
with the broker flushing every batch to disk) and at 10/s; and how much disk a request takes.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from ops.bench.cost import memory_mb
from ops.bench.experiments.options import Options
from ops.bench.load import Load, closed_loop, open_loop
from ops.bench.main import CLOSED_P99_MS, LOW_P50_MS, LOW_P99_MS, LOW_RATE, REQUESTS_PER_CPU_SECOND
from ops.bench.result import Cell, Result, Table, Target
from ops.bench.running import (
    WARM_UPS,
    Meter,
    bench_stack,
    disturbed_note,
    priced,
    progress_of,
    server_processes,
    warm_load,
)
from ops.postgres.clients import connect
from ops.stack.home import Home

LANES = 32
COMMANDS = 4
#: Requests of a closed loop: short form, long form.
COUNTS = (96, 6000)
CLOSED, LOW, FLUSHED = "at C=32", "at 10/s", "at C=32, every batch flushed to disk"


Priced = dict[str, Any]


def run(options: Options) -> Result:
    """A closed and an open loop; on a stack of its own the closed one also with the broker flushing every batch."""
    with bench_stack(options.home) as home:
        runs, resting, disk = asyncio.run(_on(home, options))
    if options.home is None:
        with bench_stack(flushed=True) as home:
            runs[FLUSHED] = asyncio.run(_closed_on(home, options))
    rows: list[list[Cell]] = []
    for name, at_rest in resting.items():
        costs = [1000 * found["cpu_s"][name] / max(1, found["completed"]) for found in runs.values()]
        rows.append([name, round(costs[0] / COMMANDS, 3), *(round(cost, 3) for cost in costs), *at_rest])
    sums = [round(sum(float(row[column] or 0) for row in rows), 3) for column in range(1, len(rows[0]))]
    rows.append(["**all**", *sums])
    columns = ["process", "ms/command at C=32", *(f"ms/request {name}" for name in runs), "idle ms/s", "MB (Pss)"]
    tables = [Table("CPU per completed request", columns, rows, _told(runs)), disk]
    notes = disturbed_note({name: found["other_share"] for name, found in runs.items()})
    return Result(tables, targets=_targets(runs), notes=notes)


def _targets(runs: dict[str, Priced]) -> list[Target]:
    low, closed = runs[LOW], runs[CLOSED]
    rates = [
        Target(
            f"completed requests per CPU-second {name}",
            runs[name]["completed_per_cpu_s"],
            REQUESTS_PER_CPU_SECOND,
            True,
        )
        for name in (CLOSED, FLUSHED)
        if name in runs
    ]
    return [
        *rates,
        Target("p50 ms at 10/s", low["p50_ms"], LOW_P50_MS),
        Target("p99 ms at 10/s", low["p99_ms"], LOW_P99_MS),
        Target("p99 ms at C=32", closed["p99_ms"], CLOSED_P99_MS),
    ]


async def _on(home: Home, options: Options) -> tuple[dict[str, Priced], dict[str, tuple[float, float]], Table]:
    roots = server_processes(home)
    count = options.pick(*COUNTS)
    async with warm_load(home, LANES, options.pick(*WARM_UPS)) as load:
        before = await _bytes(home)
        closed = await _closed(load, roots, count)
        disk = _disk(before, await _bytes(home), count)
        seconds = options.pick(2.0, 30.0)
        loop = open_loop(load, load.whole, _first(), LOW_RATE, seconds, progress_of(LOW))
        low = await priced(loop, roots)
    return {CLOSED: closed, LOW: low}, await _at_rest(roots, options.pick(2.0, 10.0)), disk


async def _at_rest(roots: dict[str, int], seconds: float) -> dict[str, tuple[float, float]]:
    """CPU ms a second while nobody asks for anything, and MB, by process."""
    await asyncio.sleep(1)
    meter = Meter(roots)
    await asyncio.sleep(seconds)
    cost = meter.document()
    memory = await asyncio.to_thread(memory_mb, roots)
    return {name: (round(1000 * used / cost["seconds"], 1), memory[name]) for name, used in cost["cpu_s"].items()}


async def _closed_on(home: Home, options: Options) -> Priced:
    async with warm_load(home, LANES, options.pick(*WARM_UPS)) as load:
        return await _closed(load, server_processes(home), options.pick(*COUNTS))


async def _closed(load: Load, roots: dict[str, int], count: int) -> Priced:
    return await priced(closed_loop(load, load.whole, _first(), count, LANES, progress_of(CLOSED)), roots)


def _first() -> int:
    """A number that no earlier run began with."""
    return time.time_ns() // 1_000_000 % 1_000_000_000


def _told(runs: dict[str, Priced]) -> str:
    parts = []
    for name, found in runs.items():
        rates = f"{found['completed_per_cpu_s']} per CPU-second, {found['completed_per_s']}/s"
        times = f"p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms"
        parts.append(f"{name}: {found['completed']} requests, {rates}, {times}, {found['errors']} errors")
    return "; ".join(parts) + "."


def _disk(before: dict[str, int], after: dict[str, int], count: int) -> Table:
    grown = {name: (after[name] - size) / count for name, size in before.items() if after[name] > size}
    rows: list[list[Cell]] = [[name, round(size)] for name, size in grown.items()]
    for server in ("Kafka", "PostgreSQL"):
        rows.append([f"**{server}**", round(sum(size for name, size in grown.items() if name.startswith(server)))])
    note = (
        "Growth over the closed loop. Kafka's segments as written, one replica, changelogs not yet compacted; PostgreSQL's tables "
        "with their indexes, without its write-ahead log."
    )
    return Table("Bytes per completed request", ["where", "bytes"], rows, note)


async def _bytes(home: Home) -> dict[str, int]:
    """Bytes of each topic's logs, and of each table of PostgreSQL with its indexes."""
    found: dict[str, int] = {}
    for topic, size in sorted((await asyncio.to_thread(_topics, home)).items()):
        found[f"Kafka: {topic}"] = size
    database = await connect(str(home.endpoints()["postgres"]), timeout=30)
    try:
        rows = await database.fetch(
            "SELECT schemaname || '.' || relname AS name, pg_total_relation_size(relid) AS size FROM pg_stat_user_tables "
            "WHERE schemaname IN ('requests', 'audit') ORDER BY 1"
        )
    finally:
        await database.close()
    return found | {f"PostgreSQL: {row['name']}": row["size"] for row in rows}


def _topics(home: Home) -> dict[str, int]:
    """By topic: the `.log` files below the broker's data folder, which are named after topic and partition."""
    sizes: dict[str, int] = {}
    for file in Path(home.choices()["servers"]).glob("kafka/**/*.log"):
        topic, _, partition = file.parent.name.rpartition("-")
        if topic.startswith("athena") and partition.isdecimal():
            sizes[topic] = sizes.get(topic, 0) + file.stat().st_size
    return sizes
