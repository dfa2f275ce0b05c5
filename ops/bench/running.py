"""What every measurement needs around it: a stack with the bench's rules, its processes, and what they cost meanwhile."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx

from ops.bench.cost import cpu_seconds, machine_seconds, own_seconds
from ops.bench.load import Load, Measured, closed_loop
from ops.bench.rules_file import rules_text
from ops.stack.errors import StackError
from ops.stack.home import Home
from ops.temporary_stack import athena, stack

#: Beyond this share of the machine taken by others the figures count as disturbed.
DISTURBED = 0.05
#: How long the worker gets to route by new rules, in seconds.
_IN_FORCE_WITHIN = 15.0
_TOLD_EVERY = 5.0
#: Requests before anything is measured; of an experiment in its short form and in its long one.
WARM_UP = 200
WARM_UPS = (48, 400)


def say(text: str) -> None:
    """A line of progress."""
    print(f"bench: {text}", file=sys.stderr, flush=True)  # noqa: T201


def progress_of(what: str) -> Callable[[int, int], None]:
    """Says how far it is, every 5 s."""
    told = [time.monotonic()]

    def progress(done: int, of: int) -> None:
        if time.monotonic() - told[0] > _TOLD_EVERY:
            told[0] = time.monotonic()
            say(f"{what}: {done}/{of}")

    return progress


def server_processes(home: Home) -> dict[str, int]:
    """Every server process of the stack as name -> pid; a second worker is `worker-1`."""
    pids = home.endpoints()["pids"]
    roots = {name: pid for name, pid in pids.items() if isinstance(pid, int)}
    return roots | {f"worker-{index}": pid for index, pid in enumerate(pids.get("workers", [])[1:], start=1)}


def kind_of(process: str) -> str:
    """What kind of process it is, by its name in `server_processes`."""
    return process.split("-", maxsplit=1)[0]


@contextmanager
def bench_stack(
    named: str | None = None, *, partitions: int = 4, workers: int = 1, rules: bool = True, flushed: bool = False
) -> Iterator[Home]:
    """A stack without rate limits: the one that runs on the home `named`, or one of its own with so many partitions and workers.

    `rules`: the bench's rules file is in force meanwhile. `flushed`: of its own, with a broker that has every batch on the
    disk before it acknowledges it.

    Raises:
        StackError: no stack runs there, or none could be started.
    """
    environment = {"ATHENA_RATE_LIMITS": "off", "ATHENA_PARTITIONS": str(partitions), "ATHENA_WORKERS": str(workers)}
    if flushed:
        environment["ATHENA_KAFKA_EXTRA"] = "log.flush.interval.messages=1"
    with stack(named, say, **environment) as home:
        if not rules:
            yield home
            return
        with rules_of_the_bench(home):
            yield home


@contextmanager
def rules_of_the_bench(home: Home) -> Iterator[None]:
    """Publish the bench's rules file; what was in force before is published again at the end."""
    before = _rules_in_force(home)
    push_rules(home, rules_text(), "athena bench")
    try:
        yield
    finally:
        if before != rules_text():
            push_rules(home, before, "as it was before athena bench")


def _rules_in_force(home: Home) -> str:
    base = f"{home.endpoints()['gateway']}/api/v1"
    with httpx.Client(timeout=30, verify=home.trust) as client:
        login = {"email": "admin@athena.test", "password": "athena-demo-2026"}
        token = client.post(f"{base}/auth/login", json=login).raise_for_status().json()["access_token"]
        answer = client.get(f"{base}/rules", headers={"Authorization": f"Bearer {token}"}).raise_for_status()
        return str(answer.json()["yaml"])


def push_rules(home: Home, text: str, comment: str) -> None:
    """Publish a rules file. Raises StackError when it is refused."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rules.yaml"
        file.write_text(text, encoding="utf-8")
        done = athena(home, "rules", "push", str(file), "--comment", comment)
    if done.returncode != 0:
        raise StackError(f"the rules file was not published: {done.stderr.strip() or done.stdout.strip()}")


async def await_rules(load: Load) -> None:
    """Return once requests go by the bench's rules: to L1, L2 and L3. Raises StackError when that takes over 15 s."""
    deadline = time.monotonic() + _IN_FORCE_WITHIN
    while True:
        request = await load.submit(0)
        if len(request["route"]["levels"]) == 3:
            return
        if time.monotonic() > deadline:
            raise StackError(f"the bench's rules are not in force: a request went by {request['route']['rule_id']}")
        await asyncio.sleep(0.2)


@asynccontextmanager
async def warm_load(home: Home, lanes: int = 32, count: int = WARM_UP) -> AsyncIterator[Load]:
    """A load generator whose people are signed in, after a warm-up. Raises StackError when that had errors."""
    load = Load(home.endpoints()["gateway"], home.trust)
    await load.open()
    try:
        await await_rules(load)
        warm = await closed_loop(load, load.whole, 0, count, lanes, progress_of("warm-up"))
        if warm.errors:
            raise StackError(f"the warm-up had {warm.errors} errors, the first: {warm.first_error}")
        yield load
    finally:
        await load.close()


class Meter:
    """CPU seconds of each server process, of this one and of the rest of the machine since it was made."""

    def __init__(self, roots: Mapping[str, int]) -> None:
        self._roots = dict(roots)
        self._began = time.perf_counter()
        self._before = self._read()

    def _read(self) -> tuple[dict[str, float], float, float]:
        return cpu_seconds(self._roots), own_seconds(), machine_seconds()

    def document(self) -> dict[str, Any]:
        """`cpu_s` by process, `client_cpu_s`, `other_share` (of all cores, taken by others), `seconds`."""
        (server, client, machine), (server_0, client_0, machine_0) = self._read(), self._before
        seconds = time.perf_counter() - self._began
        split = {name: round(server[name] - server_0[name], 2) for name in self._roots}
        others = max(0.0, machine - machine_0 - sum(split.values()) - (client - client_0))
        return {
            "cpu_s": split,
            "client_cpu_s": round(client - client_0, 2),
            "other_share": round(others / seconds / (os.cpu_count() or 1), 3),
            "seconds": seconds,
        }


async def priced(run: Awaitable[Measured], roots: Mapping[str, int]) -> dict[str, Any]:
    """Run, and add what it cost: CPU seconds of each server process over the same span."""
    meter = Meter(roots)
    measured = await run
    cost = meter.document()
    server = sum(cost["cpu_s"].values())
    del cost["seconds"]
    return (
        measured.document() | {"completed_per_cpu_s": round(measured.completed / server, 2) if server else None} | cost
    )


def disturbed_note(shares: Mapping[str, float]) -> list[str]:
    """A sentence about runs beside which others took more than 5 % of the machine."""
    found = [f"{name} ({share:.0%})" for name, share in shares.items() if share > DISTURBED]
    return [f"Disturbed, others took part of the machine: {', '.join(found)}."] if found else []
