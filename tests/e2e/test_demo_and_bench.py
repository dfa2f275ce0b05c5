"""What a visitor runs first: the demo's story, and the bench, on a stack of their own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.bench.experiments import latency, lists
from ops.bench.load import Measured
from ops.bench.running import rules_of_the_bench
from ops.bench.trace import Reader, table
from tests import stack as stacks

pytestmark = [pytest.mark.xdist_group("e2e"), pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def own() -> Iterator[stacks.Stack]:
    """A stack for both; each leaves the rules as it found them."""
    with stacks.own(ATHENA_RATE_LIMITS="off") as own:
        yield own


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", *arguments], check=False, capture_output=True, text=True, timeout=240
    )


def test_the_demo_plays_to_its_end(own: stacks.Stack) -> None:
    """Otherwise the first impression would be a stack trace."""
    done = run("demo", "--home", str(own.home.path))
    assert done.returncode == 0, done.stdout + done.stderr
    for word in (
        "JPY",
        "GBP",
        "EUR",
        "USD",
        "L1, L2, L3",
        "rollback",
        "window-closed",
        "PUT /rules: version",
        "POST /rules/simulate",
        "three duplicates",
        "GET /requests/updates",
        "all whole",
        "checks",
    ):
        assert word in done.stdout, f"the demo does not show {word}"
    assert "not in this version" not in done.stdout


def test_the_bench_prints_its_figures_next_to_the_targets(own: stacks.Stack) -> None:
    """Otherwise nobody would notice that the product became slow."""
    done = run("bench", "--home", str(own.home.path), "--n", "60", "--c", "8", "--low-seconds", "2", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["errors"] == 0
    assert found["approve3"]["closed"]["completed"] == 60
    assert found["submit"]["open"]["completed"] == 20
    assert {"target", "figure", "met", "wanted"} == set(next(iter(found["targets"].values())))
    assert found["approve3"]["closed"]["completed_per_cpu_s"] > 1
    assert {"kafka", "postgres", "gateway", "worker", "projector", "sum"} <= set(found["memory_mb"])
    assert all(found["memory_mb"].values())


def test_experiments_become_a_page_of_tables_and_plots(own: stacks.Stack, tmp_path: Path) -> None:
    """Otherwise the figures of the documentation could not be made again."""
    arguments = ["worker", "soak", "path", "--home", str(own.home.path), "--commands", "200", "--minutes", "0.05"]
    done = subprocess.run(
        [sys.executable, "-m", "ops.bench.experiments", *arguments, "--out", str(tmp_path)],
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "tables.md").read_text()
    for part in (
        "### worker",
        "### soak",
        "### path",
        "commands/s",
        "growth MB/h",
        "| Kafka: athena.audit |",
        "0 errors",
    ):
        assert part in page, f"the page does not show {part}"
    assert (tmp_path / "soak-memory.svg").read_text().startswith("<svg")
    costs = json.loads((tmp_path / "path.json").read_text())["tables"][0]["rows"]
    assert {"kafka", "postgres", "gateway", "worker", "projector"} <= {row[0] for row in costs}


def test_a_post_is_traced_through_every_process(own: stacks.Stack) -> None:
    """Otherwise nobody would know where its milliseconds go."""

    async def traced() -> tuple[list[list[Any]], int]:
        load, reader = latency.Traced(own.gateway, own.home.trust), Reader(own.kafka)
        await load.open()
        try:
            await reader.mark()
            await load.alone(1, time.perf_counter(), Measured())
            return table(load.calls, await reader.read())
        finally:
            await load.close()

    rows, count = asyncio.run(traced())
    assert count == 1
    stages = [row[1] for row in rows[:-1]]
    assert all(stage >= 0 for stage in stages)
    assert sum(stages) == rows[-1][1] > 0


def test_lists_are_measured_on_rows_as_the_projector_writes_them(own: stacks.Stack) -> None:
    """Otherwise the figures of long lists would be of rows that no list has. Last: the read side is ahead of the log then."""
    with rules_of_the_bench(own.home):
        found = asyncio.run(lists.on(own.home, 200, 1))
    rows = {row[0]: row for row in found.tables[0].rows}
    assert rows["/requests, newest"][2] == lists.LIMIT
    assert rows["/requests, own, in the middle"][2] >= 10
    assert rows["/approvals/incoming, in the middle"][2] >= 10
    assert rows["/approvals/updates, from the beginning"][2] >= 20


def test_a_home_without_a_stack_is_said_to_be_none(tmp_path: object) -> None:
    """Otherwise a typing error would start something, or end in a stack trace."""
    for program in ("demo", "bench"):
        done = run(program, "--home", f"{tmp_path}/nothing")
        assert done.returncode == 3, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
