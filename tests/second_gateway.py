"""A second gateway of a test's stack: another process, its own port, the same Kafka and PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.stack.ports import FIRST, LAST, is_free
from ops.stack.probes import status_of
from tests.stack import Stack, wait_until


@contextmanager
def second_gateway(stack: Stack, log_file: Path | None = None, **environment: str) -> Iterator[str]:
    """Its base URL, once it is ready; `environment` adds to what the stack gives a gateway, an empty value takes from it."""
    port, metrics = [number for number in range(LAST - 1, FIRST, -7) if is_free(number)][:2]
    own = {"ATHENA_GATEWAY_PORT": str(port), "ATHENA_METRICS_PORT": str(metrics), **environment}
    settings = os.environ | stack.home.environment("gateway") | own
    log = (log_file or stack.home.logs / "second-gateway.log").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.cli", "gateway"],
        env={name: value for name, value in settings.items() if value},
        stdout=log,
        stderr=log,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: status_of(f"{url}/readyz") == 200, 60, f"{url}/readyz is not green")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
        log.close()
