"""One secret of a process: its text now, the one before, and who is told when it changes."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

import structlog

from ops.secrets import metrics
from ops.secrets.sources import Source
from ops.secrets.unreadable import Unreadable

log = structlog.get_logger(__name__)

#: A source is asked again out of turn this seldom, in seconds, however many calls want it.
REFETCH_SECONDS = 5.0
REFETCH_WAIT = 3.0
#: How long what was signed with a key that was changed is still good.
KEY_OVERLAP = 3600.0

Check = Callable[[str], object]
Take = Callable[[str], None]


class BadSecret(ValueError):
    """A value that cannot be used. The message says why and is logged, so it holds nothing of the value."""


class Secret:
    """Its text is never shown, not in logs nor by `repr`. Not for use on several threads, except `current` and `texts`.

    `check` raises BadSecret for a text that cannot be used: the one in use stays then.
    """

    def __init__(self, name: str, text: str, source: Source | None = None, check: Check | None = None) -> None:
        self.name = name
        self._source = source
        self._check = check
        self._texts: tuple[str, ...] = (text,)
        self._changed = -math.inf
        self._refused: str | None = None
        self._trouble = ""
        self._take: list[Take] = []
        self._lock = asyncio.Lock()
        self._refetched = -math.inf
        self._looking: asyncio.Task[bool] | None = None

    def __repr__(self) -> str:
        return f"Secret({self.name})"

    def current(self) -> str:
        """The text to use."""
        return self._texts[0]

    def texts(self, overlap: float = math.inf) -> tuple[str, ...]:
        """The current text, and the one before it where it was current within the last `overlap` seconds."""
        return self._texts if time.monotonic() - self._changed <= overlap else self._texts[:1]

    def signing_keys(self) -> tuple[str, ...]:
        """For a secret of one or more keys, split at blanks: the first one signs; all verify, and those of the former text too
        for an hour.
        """
        return tuple(key for text in self.texts(KEY_OVERLAP) for key in text.split())

    def subscribe(self, take: Take) -> None:
        """Have `take` called with each new text, on the event loop that watches. It must not fail."""
        self._take.append(take)

    @property
    def every(self) -> float | None:
        """Seconds between two looks at its source; None: it has none."""
        return None if self._source is None else self._source.every

    def may_differ(self) -> bool:
        """Whether a look could find a new text. Not for the event loop: it may block as the source does."""
        return self._source is not None and self._source.may_differ()

    async def refetch(self) -> bool:
        """Look out of turn, because something unknown was seen; True when there is a new text.

        Strangers can ask for this: at most one look in 5 s, which all who ask meanwhile wait for, 3 s at most.
        """
        if self._source is None:
            return False
        if self._looking is None or self._looking.done():
            if time.monotonic() - self._refetched < REFETCH_SECONDS:
                return False
            self._refetched = time.monotonic()
            self._looking = asyncio.create_task(self.look(), name=f"refetch {self.name}")
        looking = self._looking
        done, _ = await asyncio.wait({looking}, timeout=REFETCH_WAIT)
        return bool(done) and looking.result()

    async def look(self) -> bool:
        """Read the source, take a new text over; True when there was one."""
        if self._source is None:
            return False
        async with self._lock:
            try:
                text = await asyncio.to_thread(self._source.read)
            except Exception as error:
                self._ill("unreadable", str(error) if isinstance(error, Unreadable) else type(error).__name__)
                return False
            if text is None or text in (self.current(), self._refused):
                self._well(known_good=text == self.current())
                return False
            try:
                if self._check is not None:
                    self._check(text)
            except Exception as error:
                self._refused = text
                self._ill("refused", str(error) if isinstance(error, BadSecret) else type(error).__name__)
                return False
            self._replace(text)
        return True

    def _replace(self, text: str) -> None:
        self._texts, self._changed = (text, self.current()), time.monotonic()
        self._well(known_good=True)
        metrics.RELOADS.labels(self.name, "reloaded").inc()
        log.info("a secret was changed; the new one is used", setting=self.name)
        for take in self._take:
            try:
                take(text)
            except Exception as error:  # its traceback could show the value
                log.error(
                    "a part of this process did not take a new secret", setting=self.name, error=type(error).__name__
                )

    def _well(self, *, known_good: bool) -> None:
        if known_good:
            self._refused = None
        if self._refused is None:
            self._trouble = ""
            metrics.STALE.labels(self.name).set(0)

    def _ill(self, result: str, why: str) -> None:
        metrics.STALE.labels(self.name).set(1)
        if why != self._trouble:
            self._trouble = why
            metrics.RELOADS.labels(self.name, result).inc()
            log.warning("a secret's new value cannot be used; the former one stays", setting=self.name, why=why)
