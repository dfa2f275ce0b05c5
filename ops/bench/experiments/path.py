"""The budget: what a completed request (submit, L1, L2, L3 over HTTP) costs in CPU, process by process, at C=32 and at 10/s;
and how much disk a request takes.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from ops.bench.cost import memory_mb
from ops.bench.experiments.options import Options
from ops.bench.load import closed_loop, open_loop
from ops.bench.main import CLOSED_P99_MS, LOW_P50_MS, LOW_P99_MS, LOW_RATE, REQUESTS_PER_CPU_SECOND
from ops.bench.result import Cell, Result, Table, Target
from ops.bench.running import bench_stack, disturbed_note, priced, progress_of, server_processes, warm_load
from ops.postgres.clients import connect
from ops.stack.home import Home

LANES = 32
COMMANDS = 4


def run(options: Options) -> Result:
    """One closed and one open loop."""
    with bench_stack(options.home) as home:
        return asyncio.run(_on(home, options))


async def _on(home: Home, options: Options) -> Result:
    count = options.pick(96, 6000)
    roots = server_processes(home)
    first = int(time.time()) % 1_000_000 * 1_000_000
    async with warm_load(home, LANES) as load:
        before = await _bytes(home)
        loop = closed_loop(load, load.whole, first, count, LANES, progress_of("C=32"))
        closed = await priced(loop, roots)
        after = await _bytes(home)
        seconds = options.pick(2.0, 30.0)
        low = await priced(open_loop(load, load.whole, first + count, LOW_RATE, seconds, progress_of("at 10/s")), roots)
        memory = await asyncio.to_thread(memory_mb, roots)
    rows: list[list[Cell]] = []
    for name in roots:
        at_32, at_10 = (1000 * found["cpu_s"][name] / max(1, found["completed"]) for found in (closed, low))
        rows.append([name, round(at_32, 3), round(at_32 / COMMANDS, 3), round(at_10, 3), memory[name]])
    sums = [round(sum(float(row[column] or 0) for row in rows), 3) for column in range(1, 5)]
    rows.append(["**all**", *sums])
    columns = ["process", "ms/request at C=32", "ms/command at C=32", "ms/request at 10/s", "MB (Pss)"]
    targets = [
        Target(
            "completed requests per CPU-second", closed["completed_per_cpu_s"], REQUESTS_PER_CPU_SECOND, at_least=True
        ),
        Target("p50 ms at 10/s", low["p50_ms"], LOW_P50_MS),
        Target("p99 ms at 10/s", low["p99_ms"], LOW_P99_MS),
        Target("p99 ms at C=32", closed["p99_ms"], CLOSED_P99_MS),
    ]
    tables = [Table("CPU per completed request", columns, rows, _told(closed, low)), _disk(before, after, count)]
    return Result(
        tables, targets=targets, notes=disturbed_note({"C=32": closed["other_share"], "10/s": low["other_share"]})
    )


def _told(closed: dict[str, Any], low: dict[str, Any]) -> str:
    parts = [
        f"{name}: {found['completed']} requests, {found['completed_per_s']}/s, p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms, "
        f"{found['errors']} errors"
        for name, found in (("C=32", closed), ("10/s", low))
    ]
    return "; ".join(parts) + "."


def _disk(before: dict[str, int], after: dict[str, int], count: int) -> Table:
    rows: list[list[Cell]] = [[name, round((after[name] - size) / count)] for name, size in before.items()]
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
