"""How a process ends itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from agents.exits import EXIT_FAILED, FLUSH_LIMIT_S

DIE = f"""
import logging, sys
logging.basicConfig(stream=sys.stdout)
from agents.exits import die
print("not written yet", end="")
try:
    die("on purpose", {EXIT_FAILED})
finally:
    import time
    time.sleep(60)
"""


def fill(pipe: int) -> None:
    """Write until there is no room."""
    os.set_blocking(pipe, False)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe, bytes(4096))
    os.set_blocking(pipe, True)


@pytest.mark.parametrize("log", ["a full disk", "a pipe that nobody reads", "a pipe that is gone"])
def test_a_process_ends_whatever_becomes_of_its_log(log: str) -> None:
    """Else a shard that may not go on, one with another owner even, would live on as if nothing were."""
    reading, writing = os.pipe()
    with Path("/dev/full").open("wb") as full:
        out = full.fileno() if log == "a full disk" else writing
        if log == "a pipe that is gone":
            os.close(reading)
        elif log == "a pipe that nobody reads":
            fill(writing)
        began = time.monotonic()
        # Buffered, as under a supervisor that does not know Python.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        done = subprocess.Popen([sys.executable, "-c", DIE], stdout=out, stderr=subprocess.DEVNULL, env=environment)
        try:
            assert done.wait(30) == EXIT_FAILED
        finally:
            done.kill()
            done.wait(10)
            os.close(writing)
            if log != "a pipe that is gone":
                os.close(reading)
    assert time.monotonic() - began < FLUSH_LIMIT_S + 20
