"""`athena up --detach`: a supervisor that no terminal holds, and waiting until it is ready."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

from ops.stack.errors import StackError
from ops.stack.home import Home
from ops.stack.probes import status_of
from ops.stack.state import State, is_supervised
from ops.stack.supervisor import READY_TIME_OUT, SEED_TIME_OUT, Options

POLL = 0.05
# The supervisor has its own limits and says which process failed; this one is for a supervisor that hangs.
TIME_OUT = READY_TIME_OUT + SEED_TIME_OUT + 30.0


def launch(home: Home, options: Options, say: Callable[[str], None]) -> bool:
    """Start a detached supervisor, wait until its stack is ready; False when one ran already.

    Raises:
        StackError: the stack did not come up; the text names the process and the end of its log.
    """
    home.create()
    running = is_supervised(home)
    child = None if running else _spawn(home, options)
    _wait(home, child, say)
    return not running


def is_healthy(home: Home) -> bool:
    """Whether the home's gateway says that it is ready."""
    return status_of(f"{home.gateway}/readyz", 5.0, home.trust) == 200


def _spawn(home: Home, options: Options) -> subprocess.Popen[bytes]:
    _forget_result(home)
    command = [sys.executable, "-m", "ops.cli", "up", "--home", str(home.path)]
    if options.port is not None:
        command += ["--port", str(options.port)]
    if options.workers is not None:
        command += ["--workers", str(options.workers)]
    if not options.seed:
        command.append("--no-seed")
    if options.tls:
        command.append("--tls")
    with (home.logs / "up.log").open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home.path,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )


def _forget_result(home: Home) -> None:
    """Keep the children that a dead supervisor left on record, not how its start went."""
    state = State.read(home)
    if state is not None:
        state.state, state.steps, state.error, state.supervisor = "starting", [], "", None
        state.write(home)


def _wait(home: Home, child: subprocess.Popen[bytes] | None, say: Callable[[str], None]) -> None:
    deadline = time.monotonic() + TIME_OUT
    said = 0
    while True:
        ended = child is not None and child.poll() is not None
        state = State.read(home)
        if state is not None and state.supervisor is not None:
            for step in state.steps[said:]:
                say(step)
            said = max(said, len(state.steps))
            if state.state == "ready":
                if is_healthy(home):
                    return
            elif state.state == "failed" and (child is None or ended):
                raise StackError(state.error)
        if ended or (child is None and not is_supervised(home)):
            raise StackError(f"The supervisor ended before the stack was ready. Read {home.logs / 'up.log'}")
        if time.monotonic() > deadline:
            raise StackError(
                f"The stack was not ready within {TIME_OUT:.0f} s. Read {home.logs}, or stop it: athena down"
            )
        time.sleep(POLL)
