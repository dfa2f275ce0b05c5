"""A steady rate for a long time: memory, CPU and lag of every process every few seconds; how fast memory grows after a warm-up."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from ops.bench.bounds import memory_targets
from ops.bench.cost import memory_mb
from ops.bench.experiments.options import Options
from ops.bench.figures import rounded, slope
from ops.bench.load import Measured, open_loop
from ops.bench.result import Cell, Plot, Points, Result, Table, Target
from ops.bench.running import WARM_UPS, Meter, bench_stack, disturbed_note, progress_of, server_processes, warm_load
from ops.bench.scraped import scrape
from ops.stack.home import Home

#: MB an hour: below it, an hour's growth is within what allocators and caches do.
GROWTH_MB = 10.0
#: Of the samples, the first of which are not looked at for growth.
WARM_SHARE = 0.25


@dataclass(slots=True)
class Samples:
    """Points over seconds, by process; memory in MB, CPU in ms per second, lag in records."""

    memory: dict[str, Points] = field(default_factory=dict)
    cpu: dict[str, Points] = field(default_factory=dict)
    lag: dict[str, Points] = field(default_factory=dict)


def run(options: Options) -> Result:
    """A few samples, or an hour."""
    minutes = options.minutes if options.minutes is not None else options.pick(0.2, 60.0)
    rate = options.rate or options.pick(5.0, 20.0)
    every = min(10.0, max(1.0, minutes * 60 / 10))
    with bench_stack(options.home) as home:
        samples, measured, share = asyncio.run(_on(home, rate, minutes * 60, every, options.pick(*WARM_UPS)))
    return _result(samples, measured, rate, minutes, share)


async def _on(home: Home, rate: float, seconds: float, every: float, warm_up: int) -> tuple[Samples, Measured, float]:
    samples = Samples()
    roots = server_processes(home)
    async with warm_load(home, count=warm_up) as load:
        meter = Meter(roots)
        sampling = asyncio.create_task(_sample(home, roots, every, samples))
        try:
            measured = await open_loop(load, load.whole, _first(), rate, seconds, progress_of(f"soak at {rate:g}/s"))
        finally:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)
        return samples, measured, meter.document()["other_share"]


def _first() -> int:
    return int(time.time()) % 1_000_000 * 1_000


async def _sample(home: Home, roots: dict[str, int], every: float, samples: Samples) -> None:
    began = time.monotonic()
    due = began
    meter = Meter(roots)
    while True:
        due += every
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        at = round(time.monotonic() - began, 1)
        cost, meter = meter.document(), Meter(roots)
        for name, used in cost["cpu_s"].items():
            samples.cpu.setdefault(name, []).append((at, round(1000 * used / cost["seconds"], 1)))
        for name, megabytes in (await asyncio.to_thread(memory_mb, roots)).items():
            samples.memory.setdefault(name, []).append((at, megabytes))
        for process in ("worker", "projector"):
            told = await scrape(home, process)
            samples.lag.setdefault(process, []).append((at, told.get(f"athena_{process}_lag_records", 0.0)))


def _result(samples: Samples, measured: Measured, rate: float, minutes: float, share: float) -> Result:
    rows: list[list[Cell]] = []
    targets = []
    for name, points in samples.memory.items():
        settled = points[int(len(points) * WARM_SHARE) :]
        per_second = slope(settled)
        growth = rounded(None if per_second is None else per_second * 3600, 1)
        used = [value for _, value in samples.cpu[name]]
        rows.append(
            [
                name,
                settled[0][1],
                settled[-1][1],
                max(value for _, value in points),
                growth,
                round(sum(used) / len(used), 1),
            ]
        )
        targets.append(Target(f"growth of {name}, MB an hour", growth, GROWTH_MB))
    targets += memory_targets({name: max(value for _, value in points) for name, points in samples.memory.items()})
    lags = ", ".join(f"{name} {max(value for _, value in points):g}" for name, points in samples.lag.items())
    columns = ["process", "MB after warm-up", "MB at the end", "MB at most", "growth MB/h", "CPU ms/s"]
    note = (
        f"{measured.completed} requests at {rate:g}/s, {measured.errors} errors, p50 {measured.document()['p50_ms']} ms, p99 "
        f"{measured.document()['p99_ms']} ms; lag at most: {lags}. Growth: least squares over all but the first {WARM_SHARE:.0%}. "
        "Pss counts a shared page once, so PostgreSQL grows as it touches its shared buffers (128 MB)."
    )
    plots = [
        Plot("soak-memory", f"Memory at {rate:g} requests/s", "minutes", "MB (Pss)", _minutes(samples.memory)),
        Plot("soak-cpu", f"CPU at {rate:g} requests/s", "minutes", "ms per second", _minutes(samples.cpu)),
        Plot("soak-lag", f"Lag at {rate:g} requests/s", "minutes", "records", _minutes(samples.lag)),
    ]
    table = Table(f"{minutes:g} minutes at {rate:g} requests/s", columns, rows, note)
    return Result([table], plots, targets, disturbed_note({"the soak": share}))


def _minutes(lines: dict[str, Points]) -> dict[str, Points]:
    return {name: [(round(at / 60, 3), value) for at, value in line] for name, line in lines.items()}
