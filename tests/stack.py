"""Real stacks for tests: each in a home of its own, started by the command that a user types."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ops.kafka_clients import Kafka
from ops.stack.home import Home
from ops.stack.ports import FIRST, LAST, is_free, is_kept
from ops.stack.probes import status_of
from ops.tls.store import Certificates

UP_TIME_OUT = 240
DOWN_TIME_OUT = 90
#: Set to 1, every stack of the run is one with `--tls`.
TLS = "ATHENA_TEST_TLS"
#: Folder of the authority that all of them share.
AUTHORITY = "ATHENA_TEST_AUTHORITY"
ATHENA = (sys.executable, "-m", "ops.cli")


@dataclass(frozen=True)
class Stack:
    """A running stack; addresses are read anew each time, since a restarted process has another pid."""

    home: Home

    @property
    def endpoints(self) -> dict[str, Any]:
        """`endpoints.json` as it is now."""
        return self.home.endpoints()

    @property
    def gateway(self) -> str:
        """Base URL of the gateway."""
        return str(self.endpoints["gateway"])

    @property
    def kafka(self) -> Kafka:
        """The broker, as the tools reach it."""
        return self.home.kafka

    @property
    def postgres(self) -> str:
        """URL of the database with its superuser's login."""
        return str(self.endpoints["postgres"])

    def pid(self, process: str) -> int:
        """The pid of `kafka`, `postgres`, `gateway`, `worker` or `projector` now."""
        return int(self.endpoints["pids"][process])

    def kill(self, process: str, number: signal.Signals = signal.SIGKILL, seconds: float = 30) -> None:
        """Send the process a signal that ends it, and wait until the supervisor has started it again."""
        before = self.pid(process)
        os.kill(before, number)
        wait_until(lambda: self.pid(process) != before, seconds, f"{process} was not started again")

    def wait_ready(self, seconds: float = 60) -> None:
        """Wait until the gateway says that it is ready."""
        wait_until(
            lambda: status_of(f"{self.gateway}/readyz", trust=self.home.trust) == 200,
            seconds,
            f"{self.gateway}/readyz is not green",
        )

    def run(self, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run an `athena` command against this stack, and return what it said."""
        return athena(*arguments, "--home", str(self.home.path), seconds=seconds)


def wait_until(holds: Any, seconds: float, otherwise: str) -> None:
    """Poll until `holds()` is true; fails with `otherwise` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{otherwise} within {seconds:.0f} s"
        time.sleep(0.05)


def athena(*arguments: str, seconds: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run an `athena` command; `environment` adds to this process's own."""
    return subprocess.run(
        [*ATHENA, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=seconds,
        env=os.environ | environment,
    )


def up(home: Path, *options: str, **environment: str) -> Stack:
    """Start a detached stack on the home, or find the one that runs there."""
    if not (home / "stack.json").exists() and "--port" not in options:
        # Port 8000 is every stack's first choice: one that is down for a moment would lose it to a stack beside it.
        options = (*options, "--port", str(free_port()))
    if environment.get(TLS, os.environ.get(TLS)) == "1":
        options = (*options, "--tls")
        _use_test_authority(Home(home))
    done = athena("up", "--detach", "--home", str(home), *options, seconds=UP_TIME_OUT, **environment)
    assert done.returncode == 0, f"athena up: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return Stack(Home(home))


def make_test_authority(folder: Path) -> None:
    """One authority for all stacks of a run with `ATHENA_TEST_TLS=1`, believed by this process and those it starts."""
    authority = Certificates(folder)
    authority.create_missing()
    os.environ |= {AUTHORITY: str(folder), "SSL_CERT_FILE": str(authority.ca)}


def _use_test_authority(home: Home) -> None:
    if AUTHORITY not in os.environ:
        make_test_authority(new_folder())
    made = Certificates(Path(os.environ[AUTHORITY]))
    if not home.certificates.authority.exists():
        home.certificates.folder.mkdir(parents=True)
        for file in (made.ca, made.authority):
            shutil.copy(file, home.certificates.folder / file.name)


def free_port() -> int:
    """A port that is free now, and that no stack keeps for a server of its own which is down; the stack itself reserves it."""
    return next(
        port for port in (random.randrange(FIRST, LAST) for _ in range(500)) if is_free(port) and not is_kept(port)
    )


def down(home: Path) -> None:
    """Stop the home's stack and remove all that it had."""
    if not home.exists():
        return
    done = athena("down", "--home", str(home), seconds=DOWN_TIME_OUT)
    assert done.returncode == 0, done.stderr
    servers = Home(home).choices().get("servers")
    if servers:
        shutil.rmtree(servers, ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)


def new_folder() -> Path:
    """A temporary folder that the servers' user can enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="athena-test-"))
    folder.chmod(0o755)
    return folder


def shared(folder: Path) -> Stack:
    """The stack that all tests of one run share: the first one to ask starts it, the others wait for it."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return up(folder / "home", ATHENA_RATE_LIMITS="off")


@contextmanager
def own(*options: str, **environment: str) -> Iterator[Stack]:
    """A stack of one test's own, for tests that break it."""
    folder = new_folder()
    try:
        yield up(folder / "home", *options, **environment)
    finally:
        down(folder / "home")
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """The process and its children stand still meanwhile."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for one in family:
        one.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for one in family:
            if one.is_running():
                one.send_signal(signal.SIGCONT)
