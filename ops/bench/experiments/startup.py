"""How long until the product is ready: on an existing home, on an empty one, and (asked for) from a fresh clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ops.bench.experiments.options import Options
from ops.bench.figures import median
from ops.bench.result import Cell, Result, Table, Target
from ops.bench.running import say
from ops.stack.errors import StackError
from ops.stack.home import Home
from ops.temporary_stack import DOWN_TIME_OUT, UP_TIME_OUT, athena

#: Issue 7, seconds.
EXISTING_S = 8.0
COLD_TIME_OUT = 1200.0
CHECKOUT = Path(__file__).parents[3]


def run(options: Options) -> Result:
    """`athena up --detach` until it returns, which is when /readyz is green."""
    folder = Path(tempfile.mkdtemp(prefix="athena-bench-"))
    folder.chmod(0o755)
    try:
        home = Home(folder / "home")
        rows: list[list[Cell]] = [["athena up --detach, empty home (demo organisation included)", 1, _up(home)]]
        times = options.pick(1, 3)
        again = [_up(home) for _ in range(times)]
        rows.append(["athena up --detach, existing home", times, round(median(again), 1)])
        if options.cold:
            rows.append(["make run in a fresh clone, package caches as they are", 1, _cold(folder)])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    target = Target("s of athena up on an existing home", round(median(again), 1), EXISTING_S)
    return Result([Table("Start-up", ["what", "times", "s (median)"], rows)], targets=[target])


def _up(home: Home) -> float:
    """Seconds until it is up; it is down again afterwards."""
    say(f"startup: athena up on {home.path}")
    began = time.monotonic()
    try:
        done = athena(home, "up", "--detach", seconds=UP_TIME_OUT)
        seconds = time.monotonic() - began
        if done.returncode != 0:
            raise StackError(f"the stack did not start: {done.stderr.strip() or done.stdout.strip()}")
    finally:
        athena(home, "down", seconds=DOWN_TIME_OUT)
    return round(seconds, 1)


def _cold(folder: Path) -> float:
    """Seconds from `make run` to an answering gateway, in a clone without virtual environment, jars or home."""
    say("startup: make run in a fresh clone")
    clone = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", str(CHECKOUT), str(clone)], check=True, timeout=300)
    clone.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "ATHENA_HOME")}
    home = Home(clone / ".athena")
    began = time.monotonic()
    with (folder / "make.log").open("ab") as log:
        running = subprocess.Popen(
            ["make", "run"], cwd=clone, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        while not _is_ready(home):
            if running.poll() is not None or time.monotonic() - began > COLD_TIME_OUT:
                raise StackError(f"make run did not come up: {(folder / 'make.log').read_text()[-2000:]}")
            time.sleep(0.2)
        return round(time.monotonic() - began, 1)
    finally:
        if running.poll() is None:
            running.terminate()
            running.wait(DOWN_TIME_OUT)
        servers = home.choices().get("servers")
        if servers:
            shutil.rmtree(servers, ignore_errors=True)


def _is_ready(home: Home) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "ops.cli", "status", "--home", str(home.path)],
        check=False,
        capture_output=True,
        timeout=60,
    )
    return done.returncode == 0
