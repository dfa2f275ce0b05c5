"""What a visitor runs first: the demo's story, and the bench, on a stack of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

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


def test_a_home_without_a_stack_is_said_to_be_none(tmp_path: object) -> None:
    """Otherwise a typing error would start something, or end in a stack trace."""
    for program in ("demo", "bench"):
        done = run(program, "--home", f"{tmp_path}/nothing")
        assert done.returncode == 3, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
