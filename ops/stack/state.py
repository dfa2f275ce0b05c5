"""What runs on a home now: `run.json`, written by the supervisor, read by everyone else."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from ops.stack.home import Home
from ops.stack.processes import Process, stop, wait_ended
from ops.stack.records import read_json, write_json

# Stopped in this order; whatever is not named goes first.
SERVERS = ("postgres", "kafka")
STOP_GRACE = 10.0
# The supervisor stops three groups one after the other, each within 10 s.
SUPERVISOR_GRACE = 40.0


@dataclass
class State:
    """`state` is `starting`, `ready`, `stopping` or `failed`; `steps` are the sentences of the start so far."""

    state: str = "starting"
    steps: list[str] = field(default_factory=list)
    error: str = ""
    supervisor: Process | None = None
    children: dict[str, Process] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)

    def write(self, home: Home) -> None:
        """Replace `run.json` atomically."""
        value = {
            "state": self.state,
            "steps": self.steps,
            "error": self.error,
            "supervisor": _to_json(self.supervisor),
            "children": {name: _to_json(process) for name, process in self.children.items()},
            "restarts": self.restarts,
        }
        write_json(home.run_file, value, 0o644)

    @classmethod
    def read(cls, home: Home) -> State | None:
        """What was written last; None where no stack was ever started, or none since `down`."""
        value = read_json(home.run_file)
        if not value:
            return None
        children = {name: _from_json(process) for name, process in value["children"].items()}
        return cls(
            state=value["state"],
            steps=value["steps"],
            error=value["error"],
            supervisor=_from_json(value["supervisor"]),
            children={name: process for name, process in children.items() if process is not None},
            restarts=value["restarts"],
        )


@contextlib.contextmanager
def locked(home: Home) -> Iterator[bool]:
    """Whether this process now is the one supervisor of the home; the kernel lets go of the lock when it dies."""
    handle = os.open(home.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def is_supervised(home: Home) -> bool:
    """Whether a supervisor holds the home now."""
    if not home.lock_file.exists():
        return False
    with locked(home) as free:
        return not free


def stop_children(home: Home) -> int:
    """Stop what a dead supervisor left running; returns how many processes that were."""
    state = State.read(home) or State()
    living = {name: process for name, process in state.children.items() if process.alive()}
    stop(((p, signal.SIGTERM) for name, p in living.items() if name not in SERVERS), STOP_GRACE)
    asked = {"postgres": signal.SIGINT, "kafka": signal.SIGTERM}
    stop(((living[name], asked[name]) for name in SERVERS if name in living), STOP_GRACE)
    strays = list(_strays(home))
    stop(strays, STOP_GRACE)
    return len(living) + len(strays)


def _strays(home: Home) -> Iterator[tuple[Process, signal.Signals]]:
    """Processes of this home that nobody wrote down: their supervisor was killed the moment it had started them."""
    folders = [home.data, Path(home.choices().get("servers", home.path / "servers"))]
    for process in psutil.process_iter(["cwd", "cmdline", "create_time"]):
        cwd, command = process.info["cwd"], process.info["cmdline"] or []
        if cwd and any(Path(cwd).is_relative_to(folder) for folder in folders):
            found = Process(process.pid, process.info["create_time"])
            if "kafka.Kafka" in command or "ops.cli" in command:
                yield found, signal.SIGTERM
            elif command and command[0].endswith("/postgres"):
                yield found, signal.SIGINT


def stop_stack(home: Home) -> bool:
    """Stop the home's supervisor and all its processes; False when nothing ran."""
    state = State.read(home)
    if state is None:
        return False
    stopped = False
    if state.supervisor is not None and state.supervisor.alive():
        stopped = True
        state.supervisor.send(signal.SIGTERM)
        if wait_ended([state.supervisor], SUPERVISOR_GRACE):
            state.supervisor.send(signal.SIGKILL)
            wait_ended([state.supervisor], 5)
    stopped = stop_children(home) > 0 or stopped
    home.endpoints_file.unlink(missing_ok=True)
    home.run_file.unlink(missing_ok=True)
    return stopped


def _to_json(process: Process | None) -> dict[str, Any] | None:
    return None if process is None else {"pid": process.pid, "created": process.created}


def _from_json(value: dict[str, Any] | None) -> Process | None:
    return None if value is None else Process(int(value["pid"]), float(value["created"]))
