"""A supervised process: started again, stopped in time."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ops.stack import child as children
from ops.stack.child import Child, Spec
from ops.stack.identity import Identity
from ops.stack.processes import Process


def spec(tmp_path: Path, code: str) -> Spec:
    return Spec("probe", (sys.executable, "-c", code), dict(os.environ), tmp_path, Identity("self"))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - polls another process
            await asyncio.sleep(0.02)


def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    """Otherwise one crash would end the service until a person comes."""

    async def scenario() -> None:
        child = Child(spec(tmp_path, "import time; time.sleep(60)"), tmp_path / "log", lambda: None)
        await child.start()
        first = child.last_pid
        assert first
        os.kill(first, signal.SIGKILL)
        await until(lambda: child.last_pid != first)
        assert child.deaths == 1
        await child.stop()
        assert child.last_pid
        assert Process.of(child.last_pid) is None

    asyncio.run(scenario())


def test_a_process_that_dies_while_the_disk_is_full_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise what a full disk ended would stay down after there is room again, and nobody would look at it any more."""
    monkeypatch.setattr(children, "TELL_AGAIN", 0.05)
    full, written = False, 0

    def changed() -> None:
        nonlocal written
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        written += 1

    async def scenario() -> None:
        nonlocal full
        child = Child(spec(tmp_path, "import time; time.sleep(60)"), tmp_path / "log", changed)
        await child.start()
        first = child.last_pid
        assert first and written == 1
        full = True
        os.kill(first, signal.SIGKILL)
        await until(lambda: child.last_pid != first and child.process is not None)
        full = False
        await until(lambda: written > 1)
        await child.stop()

    asyncio.run(scenario())


def test_a_process_whose_folder_was_removed_is_started_again(tmp_path: Path) -> None:
    """Otherwise a worker whose local store somebody deleted, to have it read anew, would never come back."""

    async def scenario() -> None:
        folder = tmp_path / "data"
        folder.mkdir()
        command = (sys.executable, "-c", "import time; time.sleep(60)")
        child = Child(
            Spec("probe", command, dict(os.environ), folder, Identity("self")), tmp_path / "log", lambda: None
        )
        await child.start()
        first = child.last_pid
        assert first
        shutil.rmtree(folder)
        os.kill(first, signal.SIGKILL)
        await until(lambda: child.last_pid != first)
        assert folder.is_dir()
        await child.stop()

    asyncio.run(scenario())


def test_a_process_that_dies_at_once_is_not_started_in_a_hot_loop(tmp_path: Path) -> None:
    """Otherwise a wrong setting would eat the machine."""

    async def scenario() -> int:
        child = Child(spec(tmp_path, ""), tmp_path / "log", lambda: None)
        await child.start()
        await asyncio.sleep(1.5)
        await child.stop()
        return child.deaths

    assert 2 <= asyncio.run(scenario()) <= 5


def test_a_process_that_ignores_the_signal_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise `athena down` would hang on a stuck worker."""
    monkeypatch.setattr(children, "STOP_TIME_OUT", 0.3)
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )

    async def scenario() -> float:
        log = tmp_path / "log"
        child = Child(spec(tmp_path, code), log, lambda: None)
        await child.start()
        await until(lambda: "deaf" in log.read_text())
        began = time.monotonic()
        await child.stop()
        assert child.last_pid
        assert Process.of(child.last_pid) is None
        return time.monotonic() - began

    assert asyncio.run(scenario()) < 5


def test_a_pid_that_another_process_got_is_not_ours() -> None:
    """Otherwise `athena down` could end a stranger's program."""
    mine = Process.of(os.getpid())
    assert mine is not None
    assert mine.alive()
    assert not Process(mine.pid, mine.created - 3600).alive()
