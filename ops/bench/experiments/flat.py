"""Whether a command's cost stays what it is when there is more: requests held, rules, users, partitions, workers.

Each point is the standard closed loop over HTTP (submit, L1, L2, L3; 32 people), and its CPU seconds by process over its
commands. Requests are held by filling: submissions straight onto the log, decided and projected like any other; what filling leaves
behind (vacuum, merging) is done before anything is measured.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import Iterator
from typing import Any

from ops.bench import speed
from ops.bench.bounds import memory_targets
from ops.bench.cost import memory_mb
from ops.bench.experiments.options import Options
from ops.bench.fill import Progress, ask, chunks, send
from ops.bench.load import Load, closed_loop
from ops.bench.result import Cell, Plot, Points, Result, Table, Target
from ops.bench.rules_file import many_rules, rules_text
from ops.bench.running import (
    bench_stack,
    disturbed_note,
    kind_of,
    priced,
    progress_of,
    push_rules,
    say,
    server_processes,
    warm_load,
)
from ops.bench.settling import settle
from ops.reference_commands import send as send_reference
from ops.stack.home import Home
from schemas import topics
from schemas.commands import SYSTEM
from schemas.reference import PutEntity

LANES = 32
COMMANDS = 4
ROUNDS = 3
#: Submissions on the log at a time while filling: what the worker lags by at most.
FILL_CHUNK = 5_000
USERS_CHUNK = 500
#: Issue 7: cost at the most held over cost at the fewest.
GROWTH = 1.1
STEPS = (1_000, 10_000, 100_000, 1_000_000)
PROCESSES = ("gateway", "kafka", "worker", "projector", "postgres")

Point = tuple[int, dict[str, Any]]


def run(options: Options) -> Result:
    """Every axis that is wanted."""
    result = Result()
    count = options.pick(96, 3000)
    for axis, (label, measure) in _AXES.items():
        if axis not in options.axes:
            continue
        points = measure(options, count, result)
        _add(result, axis, label, points)
    return result


def _add(result: Result, axis: str, label: str, points: list[Point]) -> None:
    costs = [(size, _costs(found)) for size, found in points]
    rows: list[list[Cell]] = [
        [
            size,
            *(round(cost[name], 3) for name in PROCESSES),
            round(sum(cost.values()), 3),
            round(found["fixed_work_ms"], 2),
            round(_evened(found) / _evened(points[0][1]), 3),
            found["p50_ms"],
            found["errors"],
        ]
        for (size, cost), (_, found) in zip(costs, points, strict=True)
    ]
    columns = [
        label,
        *(f"{name} ms" for name in PROCESSES),
        "all ms/command",
        "fixed work ms",
        "over the first",
        "p50 ms",
        "errors",
    ]
    note = (
        "*Over the first*: the cost over that of the first line, each divided by the CPU time that a fixed work took beside it "
        "(*fixed work*), for the machine is slower in one minute than in another."
    )
    result.tables.append(Table(f"CPU per command against {label}", columns, rows, note))
    series: dict[str, Points] = {"all": [(float(size), sum(cost.values())) for size, cost in costs]}
    for name in PROCESSES:
        series[name] = [(float(size), cost[name]) for size, cost in costs]
    result.plots.append(Plot(f"flat-{axis}", f"CPU per command against {label}", label, "ms", series, log_x=True))
    memory = {name: [found["memory_mb"].get(name, 0.0) for _, found in points] for name in points[-1][1]["memory_mb"]}
    result.tables.append(
        Table(
            f"Memory against {label}, MB (Pss)",
            [label, *memory],
            [[size, *(line[at] for line in memory.values())] for at, (size, _) in enumerate(points)],
        )
    )
    if axis == "held":
        result.targets += memory_targets({name: max(line) for name, line in memory.items()})
    first, last = _evened(points[0][1]), _evened(points[-1][1])
    what = f"cost at {costs[-1][0]:,} over cost at {costs[0][0]:,} {label}"
    result.targets.append(Target(what, round(last / first, 3), GROWTH))
    result.notes += disturbed_note({f"{size} {label}": found["other_share"] for size, found in points})


def _costs(found: dict[str, Any]) -> dict[str, float]:
    """ms per command of each kind of process, all workers together."""
    split, commands = found["cpu_s"], max(1, found["completed"] * COMMANDS)
    kinds = {name: sum(value for each, value in split.items() if kind_of(each) == name) for name in PROCESSES}
    return {name: 1000 * value / commands for name, value in kinds.items()}


def _evened(found: dict[str, Any]) -> float:
    """ms of all processes for a command, for each ms that a fixed work took meanwhile."""
    return sum(_costs(found).values()) / float(found["fixed_work_ms"])


async def _point(home: Home, load: Load, count: int, what: str) -> dict[str, Any]:
    """The run of the middle cost over the machine's own slowness, of `ROUNDS`: others on the machine disturb single ones."""
    say(f"flat: {what}, {ROUNDS} times {count // ROUNDS} requests")
    found = []
    for _ in range(ROUNDS):
        first = int(time.time() * 1000) % 1_000_000_000
        loop = closed_loop(load, load.whole, first, count // ROUNDS, LANES, progress_of(what))
        async with speed.beside() as slowness:
            found.append(await priced(loop, server_processes(home)))
        found[-1]["fixed_work_ms"] = slowness.cost_ms
    middle = sorted(found, key=_evened)[ROUNDS // 2]
    return middle | {"memory_mb": await asyncio.to_thread(memory_mb, server_processes(home))}


def _held(options: Options, count: int, result: Result) -> list[Point]:
    most = options.size or options.pick(1_000, 100_000)
    sizes = options.pick((most // 5, most), (*(one for one in STEPS if one < most), most))
    with bench_stack() as home:
        return asyncio.run(_held_on(home, sizes, count, result))


async def _held_on(home: Home, sizes: tuple[int, ...], count: int, result: Result) -> list[Point]:
    points: list[Point] = []
    filled: list[list[Cell]] = []
    held, run_id = 0, uuid.uuid4().hex
    async with Progress(home) as progress:
        for size in sizes:
            began = time.monotonic()
            await fill(home, progress, run_id, held, size)
            seconds = time.monotonic() - began
            filled.append([size - held, round(seconds, 1), round((size - held) / seconds)])
            held = size
            if not await settle(home):
                result.notes.append(f"{size:,} requests held: something was still going on after filling.")
            async with warm_load(home, LANES) as load:
                points.append((size, await _point(home, load, count, f"{size} requests held")))
    result.tables.append(
        Table("Filling", ["requests", "s", "requests/s"], filled, "Through worker and projector, not over HTTP.")
    )
    return points


async def fill(home: Home, progress: Progress, run_id: str, first: int, last: int) -> None:
    """Submit requests `first` to `last` of a run, and wait until the read side has them. The log is at most two chunks ahead."""
    outcomes, applied = await progress.end(topics.OUTCOMES), await progress.applied()
    told = progress_of("filling")
    sent = 0
    for numbers in chunks(first, last, FILL_CHUNK):
        wanted = await asyncio.to_thread(ask, run_id, numbers, progress.partitions)
        await send(home.kafka, wanted)
        await progress.reach(lambda: progress.end(topics.OUTCOMES), outcomes + sent)
        await progress.reach(progress.applied, applied + sent)
        sent += wanted.count
        told(first + sent, last)
    await progress.reach(progress.applied, applied + sent)


def _rules(options: Options, count: int, result: Result) -> list[Point]:
    points: list[Point] = []
    with bench_stack() as home:
        for rules in options.pick((1, 20), (1, 20, 100, 1_000)):
            push_rules(home, many_rules(rules), f"{rules} rules")
            points.append((rules, asyncio.run(_once(home, count, f"{rules} rules"))))
        push_rules(home, rules_text(), "athena bench")
    return points


async def _once(home: Home, count: int, what: str) -> dict[str, Any]:
    async with warm_load(home, LANES) as load:
        return await _point(home, load, count, what)


def _users(options: Options, count: int, result: Result) -> list[Point]:
    points: list[Point] = []
    filled: list[list[Cell]] = []
    made = 0
    with bench_stack() as home:
        for users in options.pick((0, 200), (0, 1_000, 10_000, 100_000)):
            began = time.monotonic()
            asyncio.run(_make_users(home, made, users))
            if users > made:
                filled.append([users - made, round(time.monotonic() - began, 1)])
            made = users
            # The demo's own twelve are there.
            points.append((users + 12, asyncio.run(_once(home, count, f"{users} more users"))))
    result.tables.append(Table("Making users by reference commands", ["users", "s"], filled))
    return points


async def _make_users(home: Home, first: int, last: int) -> None:
    told = progress_of("users")
    for numbers in chunks(first, last, USERS_CHUNK):
        await send_reference(home.kafka, list(_user_commands(numbers)), 120.0)
        told(numbers[-1] + 1, last)


def _user_commands(numbers: range) -> Iterator[PutEntity]:
    for number in numbers:
        id_ = str(uuid.uuid4())
        yield PutEntity.model_validate(
            {
                "command_id": id_,
                "actor_id": SYSTEM,
                "correlation_id": id_,
                "salt": secrets.token_hex(16),
                "expected_version": 0,
                "entity_id": f"bench.{number}",
                "body": {
                    "kind": "user",
                    "email": f"bench.{number}@athena.test",
                    "name": f"Bench {number}",
                    "roles": ("sales",),
                    "department_id": "emea-sales",
                },
            }
        )


def _partitions(options: Options, count: int, result: Result) -> list[Point]:
    points: list[Point] = []
    for partitions in options.pick((4,), (4, 12, 24, 48)):
        with bench_stack(partitions=partitions) as home:
            points.append((partitions, asyncio.run(_once(home, count, f"{partitions} partitions"))))
    return points


def _workers(options: Options, count: int, result: Result) -> list[Point]:
    points: list[Point] = []
    for workers in options.pick((1,), (1, 2, 4)):
        with bench_stack(workers=workers) as home:
            points.append((workers, asyncio.run(_once(home, count, f"{workers} workers"))))
    return points


_AXES = {
    "held": ("requests held", _held),
    "rules": ("rules", _rules),
    "users": ("users", _users),
    "partitions": ("partitions", _partitions),
    "workers": ("workers", _workers),
}
