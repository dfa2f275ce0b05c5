"""A stack made to be broken: its lines run through proxies, its clocks can be stepped, one of its disks can be filled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from ops.stack import via
from ops.stack.errors import StackError
from ops.stack.home import LOOPBACK, Home, process_name
from ops.stack.processes import Process
from ops.stack.state import State
from tests import stack as stacks
from tests.client import Api
from tests.faults.proxy import Proxy
from tests.organisation import push_rules, rules_with_window

WORKERS = 2
#: The worker that joins and leaves beside the supervised ones, and the one whose disk is small.
VISITOR = process_name("worker", WORKERS)
SMALL_DISK = process_name("worker", 1)
#: Rollback windows of the rules in force, in seconds.
WINDOW = 8.0
DISK_BYTES = 512 * 1024 * 1024
WORKER_NAMES = tuple(process_name("worker", index) for index in range(WORKERS + 1))
ON_KAFKA = ("gateway", "projector", *WORKER_NAMES)
ON_POSTGRES = ("gateway", "projector")
CLOCKED = ("gateway", "projector", "worker", SMALL_DISK)
SHIM = Path(__file__).parent / "clock"


class Lines:
    """The proxies before one server, one for each process that speaks to it."""

    def __init__(self, proxies: dict[str, Proxy]) -> None:
        self._proxies = proxies

    def __getitem__(self, process: str) -> Proxy:
        return self._proxies[process]

    def heal(self) -> None:
        for proxy in self._proxies.values():
            proxy.heal()

    def refuse(self) -> None:
        for proxy in self._proxies.values():
            proxy.refuse()

    def swallow(self) -> None:
        for proxy in self._proxies.values():
            proxy.swallow()

    def delay(self, seconds: float) -> None:
        for proxy in self._proxies.values():
            proxy.delay(seconds)

    def cut(self) -> int:
        return sum(proxy.cut() for proxy in self._proxies.values())

    def close(self) -> None:
        for proxy in self._proxies.values():
            proxy.close()

    @property
    def via(self) -> str:
        return " ".join(f"{process}={proxy.address}" for process, proxy in self._proxies.items())


class Rig:
    """The stack and all that can be done to it. Methods that wait are for threads, not for the loop."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self.home.create()
        self._clocks = folder / "clocks"
        self._clocks.mkdir()
        for name in CLOCKED:
            self.step_clock(name, 0.0)
        self.kafka = Lines({name: Proxy(self._upstream(via.port_name(name))) for name in ON_KAFKA})
        self.postgres = Lines({name: Proxy(self._upstream("postgres")) for name in ON_POSTGRES})
        self.disk = self.home.data / SMALL_DISK
        self.disk.mkdir()
        self.disk_is_small = _mount(self.disk)
        self._visitor: subprocess.Popen[bytes] | None = None

    def _upstream(self, port: str):  # type: ignore[no-untyped-def]
        return lambda: (LOOPBACK, self.home.port(port))

    def _environment(self) -> dict[str, str]:
        return {
            "ATHENA_RATE_LIMITS": "off",
            "ATHENA_WORKERS": str(WORKERS),
            via.KAFKA: self.kafka.via,
            via.POSTGRES: self.postgres.via,
            "ATHENA_TEST_CLOCKS": str(self._clocks),
            "PYTHONPATH": os.pathsep.join([str(SHIM), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }

    def up(self) -> None:
        """Start the stack, or start it again after all of it was killed."""
        stacks.up(self.home.path, **self._environment())

    def shorten_windows(self, folder: Path, seconds: float) -> None:
        """Publish rules whose rollback windows close while faults come."""
        own = stacks.Stack(self.home)
        push_rules(own, Api(own.gateway), folder, rules_with_window(f"{seconds:.0f}s"))

    def process(self, name: str) -> Process | None:
        """A supervised process as it is now; None between two lives."""
        state = State.read(self.home)
        return None if state is None else state.children.get(name)

    def signal(self, name: str, number: signal.Signals) -> int:
        """Send a signal to a supervised process, waiting up to 20 s for one that is just being started; returns its pid."""
        deadline = time.monotonic() + 20
        while (found := self.process(name)) is None or not found.alive():
            assert time.monotonic() < deadline, f"{name} was not started again within 20 s"
            time.sleep(0.05)
        found.send(number)
        return found.pid

    def kill_all(self) -> None:
        """`kill -9` of the supervisor and of every process, as when the machine's memory runs out."""
        state = State.read(self.home)
        assert state is not None and state.supervisor is not None
        found = [state.supervisor, *state.children.values()]
        for process in found:
            process.send(signal.SIGKILL)
        self.dismiss(signal.SIGKILL)

    def rss(self) -> dict[str, int]:
        """Resident megabytes of each process."""
        state = State.read(self.home)
        found = {}
        for name, process in (state.children if state else {}).items():
            with contextlib.suppress(psutil.Error):
                found[name] = psutil.Process(process.pid).memory_info().rss >> 20
        return found

    def invite(self) -> float:
        """Start the visiting worker; returns once it decides, the seconds that took."""
        self.dismiss(signal.SIGTERM)
        folder = self.home.data / VISITOR
        folder.mkdir(exist_ok=True)
        environment = os.environ | self._environment() | self.home.environment("worker", WORKERS)
        environment |= {
            "ATHENA_KAFKA_BOOTSTRAP": self.kafka[VISITOR].address,
            "ATHENA_METRICS_HOST": LOOPBACK,
            "ATHENA_METRICS_PORT": "0",
        }
        before, began = self.said(VISITOR, "shards opened"), time.monotonic()
        with (self.home.logs / f"{VISITOR}.log").open("ab") as log:
            self._visitor = subprocess.Popen(
                [sys.executable, "-m", "ops.cli", "worker"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        stacks.wait_until(lambda: self.said(VISITOR, "shards opened") > before, 60, f"{VISITOR} did not get to work")
        return time.monotonic() - began

    def dismiss(self, number: signal.Signals) -> float | None:
        """Send the visiting worker a signal that ends it; the seconds until it has, None where none is there."""
        visitor, self._visitor = self._visitor, None
        if visitor is None or visitor.poll() is not None:
            return None
        began = time.monotonic()
        visitor.send_signal(number)
        try:
            visitor.wait(30)
        except subprocess.TimeoutExpired:
            visitor.kill()
            visitor.wait(10)
        return time.monotonic() - began

    def said(self, process: str, text: str) -> int:
        """How often a text is in a process's log."""
        log = self.home.logs / f"{process}.log"
        return log.read_bytes().count(text.encode()) if log.exists() else 0

    def step_clock(self, process: str, seconds: float) -> None:
        """Set how far a process's clock is ahead."""
        path = self._clocks / process
        if not path.exists():
            path.write_bytes(bytes(8))
        with path.open("r+b", buffering=0) as file:
            file.write(struct.pack("d", seconds))

    def lose_store(self, process: str) -> None:
        """Kill a worker, and take its local tables away before it lives again."""
        self.signal(process, signal.SIGSTOP)
        for part in (self.home.data / process).iterdir():
            if part.is_dir():
                shutil.rmtree(part)
            else:
                part.unlink()
        self.signal(process, signal.SIGKILL)

    def fill_disk(self) -> None:
        """Leave no room in `SMALL_DISK`'s data folder; where no disk could be mounted, limit the size of its files instead."""
        if not self.disk_is_small:
            found = self.process(SMALL_DISK)
            assert found is not None
            psutil.Process(found.pid).rlimit(psutil.RLIMIT_FSIZE, (4096, 4096))
            return
        with (self.disk / "ballast").open("ab", buffering=0) as ballast, contextlib.suppress(OSError):
            piece = bytes(1 << 20)
            while True:
                ballast.write(piece)
        with (self.disk / "ballast").open("ab", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(4096))

    def free_disk(self) -> None:
        """Make room again."""
        (self.disk / "ballast").unlink(missing_ok=True)

    def heal(self) -> None:
        """End every fault that lasts."""
        self.kafka.heal()
        self.postgres.heal()
        self.free_disk()
        for name in CLOCKED:
            self.step_clock(name, 0.0)
        state = State.read(self.home)
        for process in (state.children if state else {}).values():
            process.send(signal.SIGCONT)

    def close(self) -> None:
        """Stop all of it, and leave nothing behind."""
        self.heal()
        self.dismiss(signal.SIGTERM)
        with contextlib.suppress(StackError):
            done = stacks.athena("down", "--home", str(self.home.path), seconds=stacks.DOWN_TIME_OUT)
            assert done.returncode == 0, done.stderr
        if self.disk_is_small:
            subprocess.run(["umount", "-l", str(self.disk)], check=False, timeout=10)
        self.kafka.close()
        self.postgres.close()
        stacks.down(self.home.path)


def _mount(folder: Path) -> bool:
    """Put a small disk there; False where this user may not."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "athena-test", str(folder)]
    try:
        return subprocess.run(command, check=False, capture_output=True, timeout=10).returncode == 0
    except FileNotFoundError:
        return False


@contextmanager
def rig(keep: Path | None = None) -> Iterator[Rig]:
    """A rig of one's own, running; its logs are copied to `keep` in the end."""
    folder = stacks.new_folder()
    made = Rig(folder)
    try:
        made.up()
        made.shorten_windows(folder, WINDOW)
        yield made
    finally:
        if keep is not None:
            shutil.copytree(made.home.logs, keep, dirs_exist_ok=True)
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


async def aside(work, *arguments):  # type: ignore[no-untyped-def]
    """Run something that waits in a thread, so that the load goes on."""
    return await asyncio.to_thread(work, *arguments)
