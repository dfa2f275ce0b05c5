"""Where the milliseconds of a POST go, from the client's send to its answer: at 10/s, at C=32, in a burst, and while the projector
catches up.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from ops.bench.experiments.options import Options
from ops.bench.experiments.worker import standing_still
from ops.bench.figures import rounded
from ops.bench.fill import Progress, ask, send
from ops.bench.load import Load, Measured, closed_loop, open_loop
from ops.bench.result import Cell, Result, Table, Target
from ops.bench.running import (
    WARM_UPS,
    Meter,
    bench_stack,
    disturbed_note,
    progress_of,
    say,
    server_processes,
    warm_load,
)
from ops.bench.scraped import mean_between, scrape
from ops.bench.trace import Call, Reader, table
from ops.stack.home import Home
from schemas import topics

RATE, BURST, LANES = 10.0, 100.0, 32
#: Issue 7, ms.
LOW_P50_MS, LOW_P99_MS, CLOSED_P99_MS = 8.0, 30.0, 150.0

Situation = Callable[[], Awaitable[Measured]]


class Traced(Load):
    """Keeps, of each POST, when it was sent and answered."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.calls: list[Call] = []

    async def _post(self, login: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        sent = time.time()
        found, command_id = await self._command(login, path, body)
        answered = time.time()
        # As the records' times are: whole ms, cut off.
        self.calls.append(
            Call(command_id, found["id"], found["version"], float(int(sent * 1000)), float(int(answered * 1000)))
        )
        return found


def run(options: Options) -> Result:
    """Four situations on one stack."""
    with bench_stack(options.home) as home:
        return asyncio.run(_on(home, options))


async def _on(home: Home, options: Options) -> Result:
    seconds = options.pick(2.0, 30.0)
    result = Result()
    summary: list[list[Cell]] = []
    figures: dict[str, Measured] = {}
    async with warm_load(home, LANES, options.pick(*WARM_UPS)), Progress(home) as progress:
        load = Traced(home.endpoints()["gateway"], home.trust)
        await load.open()
        try:
            for name, situation in _situations(home, load, progress, seconds, options).items():
                say(f"latency: {name}")
                reader, meter = Reader(home.kafka), Meter(server_processes(home))
                await reader.mark()
                load.calls.clear()
                batches = await scrape(home, "worker")
                measured = figures[name] = await situation()
                together = _batches(batches, await scrape(home, "worker"))
                share = meter.document()["other_share"]
                rows, traced = table(load.calls, await reader.read())
                title = f"{name[0].upper()}{name[1:]}: {traced} of {len(load.calls)} POSTs traced"
                result.tables.append(Table(title, ["stage", "mean ms", "p50 ms", "p99 ms"], rows))
                shown = measured.document()
                summary.append([name, shown["commands"], shown["p50_ms"], shown["p99_ms"], shown["errors"], *together])
                result.notes += disturbed_note({name: share})
                if measured.first_error:
                    result.notes.append(f"An error {name}: {measured.first_error}")
        finally:
            await load.close()
    columns = ["situation", "commands", "p50 ms", "p99 ms", "errors", "records a batch", "ms a batch"]
    note = (
        "From when a command was due to when it was answered. A batch is the worker's, of one partition: from deciding to the last "
        "acknowledgement."
    )
    result.tables.insert(0, Table("Latency of a command", columns, summary, note))
    low, closed = figures["at 10/s"].document(), figures["at C=32"].document()
    result.targets += [
        Target("p50 ms at 10/s", low["p50_ms"], LOW_P50_MS),
        Target("p99 ms at 10/s", low["p99_ms"], LOW_P99_MS),
        Target("p99 ms at C=32", closed["p99_ms"], CLOSED_P99_MS),
    ]
    return result


def _batches(before: dict[str, float], after: dict[str, float]) -> list[Cell]:
    """Of the worker's batches meanwhile: records, ms."""
    records = mean_between(before, after, "athena_worker_batch_records")
    seconds = mean_between(before, after, "athena_worker_batch_seconds")
    return [rounded(records), rounded(None if seconds is None else 1000 * seconds)]


def _situations(home: Home, load: Traced, progress: Progress, seconds: float, options: Options) -> dict[str, Situation]:
    numbers = iter(range(int(time.time()) % 1_000_000 * 1_000, 2**62, 100_000))

    def steady(rate: float, for_seconds: float) -> Awaitable[Measured]:
        return open_loop(load, load.whole, next(numbers), rate, for_seconds, progress_of(f"{rate:g}/s"))

    async def low() -> Measured:
        return await steady(RATE, seconds)

    async def closed() -> Measured:
        return await closed_loop(load, load.whole, next(numbers), options.pick(96, 2000), LANES, progress_of("C=32"))

    async def burst() -> Measured:
        """10/s, and in the middle of it 5 s of 100/s more."""
        length = options.pick(1.0, 5.0)
        slow = asyncio.create_task(_run(steady(RATE, seconds)))
        await asyncio.sleep(min(seconds / 3, 5.0))
        fast = await steady(BURST - RATE, length)
        return _both(fast, await slow)

    async def catching_up() -> Measured:
        """The projector stood still while so many submissions were decided; now it reads them, and people go on."""
        backlog = options.pick(500, 20_000)
        before = await progress.end(topics.OUTCOMES)
        with standing_still([server_processes(home)["projector"]]):
            wanted = await asyncio.to_thread(ask, uuid.uuid4().hex, range(backlog), progress.partitions)
            await send(home.kafka, wanted)
            await progress.reach(lambda: progress.end(topics.OUTCOMES), before + wanted.count)
            await _taken_again(load, next(numbers))
        return await steady(RATE, seconds)

    return {
        "at 10/s": low,
        "at C=32": closed,
        f"at 10/s with a burst to {BURST:g}/s": burst,
        "at 10/s while the projector catches up": catching_up,
    }


async def _taken_again(load: Load, number: int) -> None:
    """Return once the gateway takes requests: it refuses new ones until it has seen that the worker is through what was sent."""
    async with asyncio.timeout(30):
        while True:
            try:
                await load.submit(number)
            except RuntimeError:
                await asyncio.sleep(0.1)
            else:
                return


async def _run(one: Awaitable[Measured]) -> Measured:
    return await one


def _both(one: Measured, other: Measured) -> Measured:
    return Measured(
        submit_ms=one.submit_ms + other.submit_ms,
        approve_ms=one.approve_ms + other.approve_ms,
        completed=one.completed + other.completed,
        errors=one.errors + other.errors,
        first_error=one.first_error or other.first_error,
        seconds=max(one.seconds, other.seconds),
        newest=one.newest + other.newest,
    )
