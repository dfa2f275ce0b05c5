"""A uvicorn process for one measurement, as the product runs its own: one worker, uvloop, httptools, no access log."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from ops.stack import ports
from ops.stack.errors import StackError

READY_WITHIN = 20.0


@contextmanager
def serving(app: str, **environment: str) -> Iterator[tuple[str, int]]:
    """Base URL and pid; ended at the end. Raises StackError when it does not answer within 20 s."""
    port = ports.find_free([])
    command = [sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
    command += ["--loop", "uvloop", "--http", "httptools", "--log-level", "warning"]
    process = subprocess.Popen(command, env=os.environ | environment)
    try:
        _await_answer(f"http://127.0.0.1:{port}/", process)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _await_answer(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while True:
        try:
            httpx.get(url, timeout=2)
        except httpx.HTTPError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise StackError(f"the reference server at {url} does not answer: {error}") from error
            time.sleep(0.05)
        else:
            return
