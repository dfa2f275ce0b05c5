"""A stack for one program: the home that was named, or one of its own in a temporary folder, stopped and removed at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.stack.errors import StackError
from ops.stack.home import Home

UP_TIME_OUT = 300.0
DOWN_TIME_OUT = 90.0
COMMAND_TIME_OUT = 120.0


@contextmanager
def stack(named: str | None, say: Callable[[str], None], **environment: str) -> Iterator[Home]:
    """The home of a running stack. `environment` is added when one is started here.

    Raises:
        StackError: no stack runs on the named home, or none could be started.
    """
    if named is not None:
        home = Home(named)
        home.endpoints()
        yield home
        return
    folder = Path(tempfile.mkdtemp(prefix="athena-"))
    folder.chmod(0o755)  # the database server's own user must get in
    home = Home(folder / "home")
    try:
        say(f"starting a stack of its own in {home.path}")
        done = athena(home, "up", "--detach", seconds=UP_TIME_OUT, **environment)
        if done.returncode != 0:
            raise StackError(f"the stack did not start: {done.stderr.strip() or done.stdout.strip()}")
        yield home
    finally:
        say("stopping it")
        athena(home, "down", seconds=DOWN_TIME_OUT)
        servers = home.choices().get("servers")
        if servers:
            shutil.rmtree(servers, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def athena(
    home: Home, *arguments: str, seconds: float = COMMAND_TIME_OUT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run an `athena` command on the home; raises `subprocess.TimeoutExpired` after `seconds`."""
    command = [sys.executable, "-m", "ops.cli", *arguments, "--home", str(home.path)]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=seconds, env=os.environ | environment
    )
