"""Brings up a stack or takes a running one, drives it, and prints the figures next to the targets."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from ops.bench.cost import cpu_seconds, machine_seconds, memory_mb, own_seconds
from ops.bench.load import Load, Measured, closed_loop, open_loop
from ops.bench.rules_file import rules_text
from ops.stack.errors import StackError
from ops.stack.home import Home
from ops.temporary_stack import athena, stack

OK, WRONG, UNREACHABLE = 0, 1, 3
#: Targets of the first step.
REQUESTS_PER_CPU_SECOND, LOW_P50_MS, LOW_P99_MS = 60.0, 20.0, 100.0
LOW_RATE = 10.0
#: Beyond this share of the machine taken by others the figures count as disturbed.
DISTURBED = 0.05


def main() -> int:
    """Exit code 0 measured, 1 something failed under load, 3 no stack. Targets missed are figures, not failures."""
    arguments = _arguments()
    try:
        with stack(arguments.home, say, ATHENA_RATE_LIMITS="off") as home, _rules_of_the_bench(home):
            found = asyncio.run(measure(home, arguments))
    except (StackError, httpx.HTTPError, ProcessLookupError) as error:
        say(str(error))
        return UNREACHABLE
    print(json.dumps(found, indent=None if arguments.json else 2))  # noqa: T201 - what the command is for
    return WRONG if found["errors"] else OK


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="athena bench", description="Measure the whole path over HTTP; prints JSON.")
    parser.add_argument(
        "--home", metavar="DIR", default=os.environ.get("ATHENA_HOME"), help="a running stack; otherwise one of its own"
    )
    parser.add_argument("--n", type=int, default=3000, help="requests of the closed loop (default 3000)")
    parser.add_argument("--c", type=int, default=32, help="people at once in the closed loop (default 32)")
    parser.add_argument("--low-seconds", type=float, default=20.0, help="length of the open loop at 10/s (default 20)")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    return parser.parse_args()


def say(text: str) -> None:
    """A line of progress."""
    print(f"bench: {text}", file=sys.stderr, flush=True)  # noqa: T201


def _progress(what: str) -> Callable[[int, int], None]:
    told = [time.monotonic()]

    def progress(done: int, of: int) -> None:
        if time.monotonic() - told[0] > 5:
            told[0] = time.monotonic()
            say(f"{what}: {done}/{of}")

    return progress


@contextmanager
def _rules_of_the_bench(home: Home) -> Any:
    """Publish the bench's rules file; what was in force before is published again at the end."""
    before = _rules_in_force(home)
    _push(home, rules_text(), "athena bench")
    try:
        yield
    finally:
        if before != rules_text():
            _push(home, before, "as it was before athena bench")


def _rules_in_force(home: Home) -> str:
    base = f"{home.endpoints()['gateway']}/api/v1"
    with httpx.Client(timeout=30, verify=home.trust) as client:
        login = {"email": "admin@athena.test", "password": "athena-demo-2026"}
        token = client.post(f"{base}/auth/login", json=login).raise_for_status().json()["access_token"]
        answer = client.get(f"{base}/rules", headers={"Authorization": f"Bearer {token}"}).raise_for_status()
        return str(answer.json()["yaml"])


def _push(home: Home, text: str, comment: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rules.yaml"
        file.write_text(text, encoding="utf-8")
        done = athena(home, "rules", "push", str(file), "--comment", comment)
    if done.returncode != 0:
        raise StackError(f"the rules file was not published: {done.stderr.strip() or done.stdout.strip()}")


async def measure(home: Home, arguments: argparse.Namespace) -> dict[str, Any]:
    """Warm up, then closed and open loop of the whole path, then of submissions alone."""
    endpoints = home.endpoints()
    roots: dict[str, int] = {name: pid for name, pid in endpoints["pids"].items() if isinstance(pid, int)}
    roots |= {f"worker-{index}": pid for index, pid in enumerate(endpoints["pids"].get("workers", [])[1:], start=1)}
    load = Load(endpoints["gateway"], home.trust)
    await load.open()
    count, lanes = arguments.n, arguments.c
    try:
        say(f"warming up {endpoints['gateway']}")
        await _await_rules(load)
        warm = await closed_loop(load, load.whole, 0, min(200, count), lanes, _progress("warm-up"))
        if warm.errors:
            raise StackError(f"the warm-up had {warm.errors} errors, the first: {warm.first_error}")
        sections: dict[str, dict[str, Any]] = {}
        for name, work, closed_count in (("approve3", load.whole, count), ("submit", load.alone, count)):
            say(f"{name}: closed loop, {closed_count} requests, {lanes} at once")
            closed = closed_loop(load, work, 10_000_000, closed_count, lanes, _progress(name))
            low = open_loop(
                load, work, 20_000_000, LOW_RATE, arguments.low_seconds, _progress(f"{name} at {LOW_RATE:.0f}/s")
            )
            sections[name] = {"closed": await _priced(closed, roots)}
            say(f"{name}: open loop, {LOW_RATE:.0f}/s for {arguments.low_seconds:.0f} s")
            sections[name]["open"] = await _priced(low, roots)
        memory = await asyncio.to_thread(memory_mb, roots)
    finally:
        await load.close()
    return _report(sections, memory, arguments)


async def _await_rules(load: Load) -> None:
    """The worker applies new rules within a moment: the first request that needs three levels tells."""
    deadline = time.monotonic() + 15
    while True:
        request = await load.submit(0)
        if len(request["route"]["levels"]) == 3:
            return
        if time.monotonic() > deadline:
            raise StackError(f"the bench's rules are not in force: a request went by {request['route']['rule_id']}")
        await asyncio.sleep(0.2)


async def _priced(run: Awaitable[Measured], roots: Mapping[str, int]) -> dict[str, Any]:
    """Run, and add what it cost: CPU seconds of each server process over the same span."""
    before = (cpu_seconds(roots), own_seconds(), machine_seconds())
    measured = await run
    after = (cpu_seconds(roots), own_seconds(), machine_seconds())
    split = {name: round(after[0][name] - before[0][name], 2) for name in roots}
    server, client = sum(split.values()), after[1] - before[1]
    others = max(0.0, after[2] - before[2] - server - client)
    cores = os.cpu_count() or 1
    return measured.document() | {
        "completed_per_cpu_s": round(measured.completed / server, 2) if server else None,
        "cpu_s": split,
        "client_cpu_s": round(client, 2),
        "other_share": round(others / measured.seconds / cores, 3),
    }


def _report(
    sections: dict[str, dict[str, Any]], memory: dict[str, float], arguments: argparse.Namespace
) -> dict[str, Any]:
    closed, low = sections["approve3"]["closed"], sections["approve3"]["open"]
    runs = [run for section in sections.values() for run in section.values()]
    return {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
        "n": arguments.n,
        "c": arguments.c,
        "targets": {
            "completed requests per CPU-second": _target(
                closed["completed_per_cpu_s"], REQUESTS_PER_CPU_SECOND, at_least=True
            ),
            "p50 ms per command at 10/s": _target(low["p50_ms"], LOW_P50_MS, at_least=False),
            "p99 ms per command at 10/s": _target(low["p99_ms"], LOW_P99_MS, at_least=False),
        },
        **sections,
        "memory_mb": memory | {"sum": round(sum(memory.values()), 1)},
        "errors": sum(run["errors"] for run in runs),
        "disturbed": any(run["other_share"] > DISTURBED for run in runs),
    }


def _target(figure: float | None, target: float, *, at_least: bool) -> dict[str, Any]:
    met = figure is not None and (figure >= target if at_least else figure <= target)
    return {"figure": figure, "target": target, "wanted": "at least" if at_least else "at most", "met": met}
