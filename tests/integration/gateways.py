"""Gateway processes beside the one of a stack, each with settings of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.stack.home import LOOPBACK
from ops.stack.probes import status_of
from tests import stack as stacks
from tests.client import Api

READY_SECONDS = 60.0


class Gateway(Api):
    """A gateway's API, and where its figures are."""

    def __init__(self, base: str, metrics: str) -> None:
        super().__init__(base)
        self.metrics = metrics


@contextmanager
def gateway_of(stack: stacks.Stack, folder: Path, **environment: str) -> Iterator[Gateway]:
    """A further gateway of the stack, ready; its log is `gateway.log` in the folder. An empty setting undoes one of the home."""
    folder.mkdir(exist_ok=True)
    port, metrics_port = free_port(), free_port()
    settings = os.environ | stack.home.environment("gateway") | {"ATHENA_RATE_LIMITS": "off"} | environment
    settings |= {"ATHENA_GATEWAY_PORT": str(port), "ATHENA_METRICS_PORT": str(metrics_port)}
    with (folder / "gateway.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.cli", "gateway"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env={name: value for name, value in settings.items() if value},
        )
    try:
        base = f"http://{LOOPBACK}:{port}"
        stacks.wait_until(
            lambda: status_of(f"{base}/readyz") == 200, READY_SECONDS, f"{folder}: the gateway is not ready"
        )
        yield Gateway(base, f"http://{LOOPBACK}:{metrics_port}/metrics")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def free_port() -> int:
    """A port of the loopback address that nobody has now."""
    with socket.socket() as one:
        one.bind((LOOPBACK, 0))
        return int(one.getsockname()[1])
