"""One supervised process: started, started again when it dies, stopped within a bound."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.stack.identity import Identity
from ops.stack.processes import Process

# Pauses in seconds before each start after the first death; the last one repeats.
BACKOFF = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
GOOD_RUN = 30.0
STOP_TIME_OUT = 10.0
KILL_TIME_OUT = 5.0
#: Who could not be told of a change (the disk is full) is told again after so many seconds.
TELL_AGAIN = 1.0
LARGEST_LOG = 16 * 1024 * 1024


@dataclass(frozen=True)
class Spec:
    """How to start a process; no secret may be in `command`, and `environment` is all that it gets."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: Path
    identity: Identity
    stop_signal: signal.Signals = signal.SIGTERM


class Child:
    """A process and its next lives; `changed` is called after every start and death, until it raises no OSError."""

    def __init__(self, spec: Spec, log: Path, changed: Callable[[], None]) -> None:
        self.spec = spec
        self.log = log
        self.deaths = 0
        self.last_code: int | None = None
        self.process: Process | None = None
        self.last_pid: int | None = None
        self._changed = changed
        self._running: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process now, and watch it until `stop`.

        Raises:
            OSError: the program cannot be run.
        """
        await self._spawn()
        self._loop = asyncio.create_task(self._watch(), name=f"watch {self.spec.name}")

    async def stop(self) -> None:
        """Ask it to end, kill it after 10 s; it is not started again."""
        self._stopping = True
        running = self._running
        if running is not None and running.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                running.send_signal(self.spec.stop_signal)
                # A process that was frozen would not see the signal before.
                running.send_signal(signal.SIGCONT)
            try:
                async with asyncio.timeout(STOP_TIME_OUT):
                    await running.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    running.kill()
        if self._loop is not None:
            if running is None or running.returncode is not None:
                self._loop.cancel()
            # A process that the kernel cannot end (stuck in a disk) is left behind rather than waited for.
            await asyncio.wait({self._loop}, timeout=KILL_TIME_OUT)

    async def _spawn(self) -> None:
        _rotate(self.log)
        # Somebody may have removed it together with a table store that was not wanted any more.
        self.spec.cwd.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            self._running = await asyncio.create_subprocess_exec(
                *self.spec.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.spec.cwd,
                env=dict(self.spec.environment),
                # A session of its own: Ctrl-C reaches the supervisor alone, which then stops all in order.
                start_new_session=True,
                umask=0o077,
                **self.spec.identity.popen(),
            )
        self.process = Process.of(self._running.pid)
        self.last_pid = self._running.pid
        self._tell()

    def _tell(self) -> None:
        try:
            self._changed()
        except OSError:  # whatever becomes of the files, the process goes on being watched
            asyncio.get_running_loop().call_later(TELL_AGAIN, self._tell)

    async def _watch(self) -> None:
        short_lives = 0
        while True:
            if self._running is None:
                return
            born = time.monotonic()
            self.last_code = await self._running.wait()
            if self._stopping:
                return
            self.deaths += 1
            short_lives = 0 if time.monotonic() - born > GOOD_RUN else short_lives + 1
            self.process = None
            self._tell()
            await asyncio.sleep(BACKOFF[min(max(short_lives - 1, 0), len(BACKOFF) - 1)])
            with contextlib.suppress(OSError):
                await self._spawn()


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > LARGEST_LOG:
        log.replace(log.with_suffix(".log.1"))
