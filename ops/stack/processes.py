"""Processes by pid and start time: a pid alone may meanwhile be someone else's."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

# psutil derives start times from the boot time, which moves a little when the clock is set.
TOLERANCE = 2.0


@dataclass(frozen=True)
class Process:
    """A process that this stack started; `created` is its start in seconds since the epoch."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The living process with this pid, or None."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.Error:
            return None

    def alive(self) -> bool:
        """Whether it still runs (a zombie does not)."""
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.created) < TOLERANCE
            return bool(same and found.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it is alive."""
        if self.alive():
            with contextlib.suppress(psutil.Error):
                psutil.Process(self.pid).send_signal(number)


def wait_ended(processes: Iterable[Process], seconds: float) -> list[Process]:
    """Wait until all have ended; returns those that still live after `seconds`."""
    deadline = time.monotonic() + seconds
    left = [process for process in processes if process.alive()]
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = [process for process in left if process.alive()]
    return left


def stop(processes: Iterable[tuple[Process, signal.Signals]], seconds: float) -> None:
    """Ask each to end with its signal, and kill what lives after `seconds`."""
    asked = list(processes)
    for process, number in asked:
        process.send(number)
        process.send(signal.SIGCONT)
    for process in wait_ended([process for process, _ in asked], seconds):
        process.send(signal.SIGKILL)
    wait_ended([process for process, _ in asked], 5)
