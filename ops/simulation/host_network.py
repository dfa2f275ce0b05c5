"""Between a process and the broker: requests take time, may be applied without an answer, and wait while the broker is away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

from agents.host_ports import Unreachable
from ops.simulation.host_loop import LIFE

T = TypeVar("T")

#: As the adapters on Kafka have it, in seconds.
TIMEOUT_S = 30.0


class Network:
    """One for all processes. The broker answers nothing before `away_until` (seconds of the loop)."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.away_until = 0.0
        self.outside = copy_context()
        self.outside.run(LIFE.set, None)

    async def ask(self, apply: Callable[[], T], timeout: float = TIMEOUT_S) -> T:
        """Have the broker do something. A process that ends or freezes meanwhile does not undo it.

        Raises:
            Unreachable: no answer came in time; it may have been done all the same, or be done later.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def at_broker() -> None:
            if loop.time() < self.away_until:
                later(self.away_until - loop.time() + self._delay(), at_broker)
                return
            try:
                result = apply()
            except Exception as error:
                later(self._delay(), tell, error, None)
            else:
                later(self._delay(), tell, None, result)

        def tell(error: Exception | None, result: Any) -> None:
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result)

        def later(seconds: float, work: Callable[..., None], *arguments: Any) -> None:
            loop.call_later(seconds, work, *arguments, context=self.outside)

        later(self._delay(), at_broker)
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError as error:
            raise Unreachable("no answer in time") from error

    def _delay(self) -> float:
        """A few ms; sometimes long enough for anything to happen meanwhile."""
        return self._rng.uniform(0.001, 0.02) if self._rng.random() < 0.9 else self._rng.uniform(0.05, 1.5)
