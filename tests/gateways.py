"""Further gateway processes on a running stack, each with settings of its own."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from ops.stack.probes import status_of
from ops.tls.context import trusting
from ops.tls.store import Certificates
from tests.stack import Stack, free_port, new_folder, wait_until

READY_SECONDS = 60


@dataclass(frozen=True)
class Gateway:
    """A gateway process of a test."""

    port: int
    metrics_port: int
    process: subprocess.Popen[bytes]
    log: Path
    #: Whose HTTPS it speaks; None: plain HTTP.
    tls: Certificates | None = None

    @property
    def base(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def trust(self) -> ssl.SSLContext | Literal[True]:
        return trusting(self.tls.ca) if self.tls else True

    def figure(self, name: str) -> float:
        """A figure of its metrics, with its labels as Prometheus writes them; 0 when it is not there."""
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=20).text
        found = [line.rpartition(" ") for line in text.splitlines()]
        return next((float(value) for this, _, value in found if this == name), 0.0)


@contextmanager
def started(stack: Stack, tls: Certificates | None = None, **settings: str) -> Iterator[Gateway]:
    """A further gateway on the stack, ready; `settings` are its variables besides those of the stack's own, an empty one takes
    one of those away.

    Without `tls` it serves plain HTTP also where the stack has TLS: its tests speak to it byte by byte.
    """
    port, metrics_port = free_port(), free_port()
    places = {"ATHENA_GATEWAY_PORT": str(port), "ATHENA_METRICS_PORT": str(metrics_port)}
    https = str(tls.file("gateway-https")) if tls else ""
    places |= {"ATHENA_GATEWAY_TLS_CERT": https, "ATHENA_GATEWAY_TLS_KEY": https}
    environment = os.environ | stack.home.environment("gateway") | places | settings
    log = new_folder() / "gateway.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.cli", "gateway"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={name: value for name, value in environment.items() if value},
        )
    try:
        gateway = Gateway(port, metrics_port, process, log, tls)
        wait_until(
            lambda: process.poll() is not None or status_of(f"{gateway.base}/readyz", trust=gateway.trust) == 200,
            READY_SECONDS,
            "not ready",
        )
        assert process.poll() is None, log.read_text()
        yield gateway
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.unlink()
        log.parent.rmdir()
