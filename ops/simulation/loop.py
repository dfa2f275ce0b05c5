"""An asyncio event loop on the simulated clock: the same code, the same order, no waiting."""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, cast

from ops.simulation.broker import Clock
from ops.simulation.failure import Broken


class VirtualLoop:
    """As much of `asyncio.AbstractEventLoop` as tasks, futures and timers need. `run` does all that is due; it never sleeps."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbered = 0
        self._failed: BaseException | None = None

    def time(self) -> float:
        return self._clock.now / 1000

    def get_debug(self) -> bool:
        return False

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=cast(Any, self))

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=cast(Any, self), name=name or "simulated", context=context)
        task.add_done_callback(self._done)
        return task

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task from outside of the loop."""
        return self.create_task(coroutine)

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, cast(Any, self), context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, cast(Any, self), context)
        self._numbered += 1
        heapq.heappush(self._timers, (when, self._numbered, handle))
        return handle

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._failed = self._failed or context.get("exception") or Broken(str(context.get("message")))

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are passed over when their time comes."""

    def _done(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._failed = self._failed or task.exception()

    def run(self) -> None:
        """Run everything that is due. What a task or callback raised comes out here."""
        now = self.time()
        if not self._ready and not (self._timers and self._timers[0][0] <= now):
            return
        events._set_running_loop(cast(Any, self))
        try:
            while True:
                while self._timers and self._timers[0][0] <= now:
                    handle = heapq.heappop(self._timers)[2]
                    if not handle.cancelled():
                        self._ready.append(handle)
                if not self._ready:
                    break
                for _ in range(len(self._ready)):
                    ready = self._ready.popleft()
                    if not ready.cancelled():
                        ready._run()
        finally:
            events._set_running_loop(None)
        if self._failed is not None:
            failed, self._failed = self._failed, None
            raise failed

    def kill(self, tasks: list[asyncio.Task[None]]) -> None:
        """The process is gone: its tasks end where they wait."""
        for task in tasks:
            task.cancel()
        self.run()

    def close(self) -> None:
        """Nothing runs any more: what still waits is thrown away."""
        self._ready.clear()
        self._timers.clear()
