"""An event loop whose time is virtual and whose order is drawn from a seed: the same seed is the same run, and there is no I/O.

Real coroutines run on it unchanged. Each handle belongs to the process in whose context it was made, so that a process can be
ended or frozen between any two of its steps: nothing of it runs on, whatever its code would catch.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any, TypeVarTuple, Unpack, cast

from ops.simulation.failure import Broken

Ts = TypeVarTuple("Ts")


class Life:
    """One life of a process, from its start to its end. `held` are the steps that a frozen one still has to do."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        self.held: list[events.Handle] = []


#: The life to which the running code belongs; None outside of all processes.
LIFE: ContextVar[Life | None] = ContextVar("life", default=None)


class SeededLoop(asyncio.BaseEventLoop):
    """`rng` picks among what is ready; time passes only when nothing is."""

    _ready: deque[events.Handle]

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng
        self._now = 0.0
        #: When, and the order among equals: asyncio's own heap compares handles in Python, which is most of a run's time.
        self._timers: list[tuple[float, int, events.TimerHandle]] = []
        self._made = 0
        #: All kept, so that nothing of an ended process is unwound while the run lasts.
        self._tasks: list[asyncio.Task[Any]] = []
        self.set_task_factory(self._make)
        self.set_exception_handler(lambda loop, context: None)

    def time(self) -> float:
        """Seconds since the run began."""
        return self._now

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> events.TimerHandle:
        """See `asyncio.loop.call_at`."""
        timer = events.TimerHandle(when, callback, args, self, context)
        self._made += 1
        heapq.heappush(self._timers, (when, self._made, timer))
        return timer

    def thaw(self, life: Life) -> None:
        """Let a frozen process go on, with all that became due meanwhile."""
        life.frozen = False
        self._ready.extend(life.held)
        life.held = []

    def _run_once(self) -> None:
        ready, timers = self._ready, self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not ready:
            if not timers:
                raise Broken("everything waits, and nothing will ever happen")
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            ready.append(heapq.heappop(timers)[2])
        chosen = int(self._rng.random() * len(ready))
        handle = ready[chosen]
        del ready[chosen]
        if handle._cancelled:
            return
        life = handle._context.get(LIFE)  # type: ignore[attr-defined]
        if life is None or (life.alive and not life.frozen):
            handle._run()
        elif life.alive:
            life.held.append(handle)

    def _write_to_self(self) -> None:
        """Nothing sleeps, so nothing needs to be woken."""

    def _make(self, loop: asyncio.AbstractEventLoop, work: Any, context: Context | None = None) -> asyncio.Task[Any]:
        task = asyncio.Task(work, loop=loop, context=context)
        self._tasks.append(task)
        return task

    def bury(self) -> None:
        """The run is over: what is left unfinished ends without a word."""
        self._ready.clear()
        self._timers.clear()
        for task in self._tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                with contextlib.suppress(BaseException):
                    cast(Coroutine[Any, Any, Any], task.get_coro()).close()
        self._tasks.clear()
