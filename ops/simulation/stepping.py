"""Coroutines driven by hand: each `await step(...)` hands control back to the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any

#: Where a shard waits for new records.
IDLE = "idle"


class Step:
    """Awaiting it suspends the coroutine once; `label` says where."""

    __slots__ = ("label",)

    def __init__(self, label: str) -> None:
        self.label = label

    def __await__(self) -> Generator[str, None, None]:
        yield self.label


step = Step


class Driven:
    """One coroutine and where it stands."""

    def __init__(self, start: Callable[[], Coroutine[Any, None, None]]) -> None:
        self._start = start
        self._coroutine: Coroutine[Any, None, None] | None = None
        self.label = "created"
        self.finished = False

    def advance(self) -> None:
        """Run to the next suspension. What the coroutine raises comes out here."""
        if self._coroutine is None:
            self._coroutine = self._start()
        try:
            self.label = self._coroutine.send(None)
        except StopIteration:
            self.finished = True
        except BaseException:
            self.finished = True
            raise

    def drop(self) -> None:
        """The process is gone: nothing of the coroutine runs on."""
        self.finished = True
        if self._coroutine is not None:
            self._coroutine.close()
