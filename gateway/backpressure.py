"""Refuses new submissions while the workers lag: votes on what is there go through, and memory stays bounded."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable

import structlog

from gateway import metrics
from gateway.http.problems import Problem, unavailable

log = structlog.get_logger(__name__)

#: Submissions are accepted again below this part of the limit: the gate must not flutter around one figure.
RESUME = 0.7
#: A reading that is older says nothing any more: submissions are accepted (where Kafka itself is away, it answers 503).
STALE_SECONDS = 10.0
LEAST_RETRY, LONGEST_RETRY = 1, 60
#: Clients come back spread over half of the time they were told again, not all together.
SPREAD = 0.5
#: Weight of the newest reading in the drain rate.
_WEIGHT = 0.3


class Backpressure:
    """Fed with readings of the worker group's lag on the commands topic; asked before each new submission.

    `limit` is in records. The lag is what all partitions have together that is not committed.
    """

    def __init__(
        self,
        limit: int,
        clock: Callable[[], float] = time.monotonic,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self.limit = limit
        self.shedding = False
        #: Commands a second that the workers get done.
        self.rate = 0.0
        self._clock = clock
        self._spread = spread
        self._lag = 0
        self._done: int | None = None
        self._at = float("-inf")
        metrics.WORKER_LAG.set_function(lambda: self.lag if self.lag is not None else math.nan)
        metrics.SHEDDING.set_function(lambda: 1 if self.active else 0)

    @property
    def lag(self) -> int | None:
        """Records that wait for the workers; None while that is not known."""
        return self._lag if self._clock() - self._at <= STALE_SECONDS else None

    @property
    def active(self) -> bool:
        """Whether new submissions are refused now."""
        return self.shedding and self.lag is not None

    def observe(self, lag: int, done: int) -> None:
        """Take a reading: records that wait, and the sum of the offsets committed."""
        now = self._clock()
        if self._done is not None and now > self._at:
            if now - self._at > STALE_SECONDS:
                self.rate = 0.0
            elif self._lag > 0:
                # Idle time says nothing of what the workers can do; offsets that went back are no negative rate.
                measured = max(0, done - self._done) / (now - self._at)
                self.rate = measured if self.rate == 0 else self.rate + _WEIGHT * (measured - self.rate)
        self._lag, self._done, self._at = lag, done, now
        if not self.shedding and lag > self.limit:
            self.shedding = True
            log.warning(
                "the workers lag; new submissions are answered 503 until they catch up",
                lag=lag,
                limit=self.limit,
                drained_per_second=round(self.rate, 1),
            )
        elif self.shedding and lag <= self.limit * RESUME:
            self.shedding = False
            log.info("the workers have caught up; submissions are accepted again", lag=lag, limit=self.limit)

    def retry_after(self) -> int:
        """Whole seconds, 1 to 60, until the lag should be gone at the rate of late, and a random part more."""
        excess = max(0.0, self._lag - self.limit * RESUME)
        seconds = excess / self.rate if self.rate > 0 else LONGEST_RETRY
        spread = max(LEAST_RETRY, seconds) * (1 + SPREAD * self._spread())
        # What is cut at the longest would bring all back in the same second.
        longest = LONGEST_RETRY * (1 - SPREAD / 2 * self._spread())
        return max(LEAST_RETRY, math.ceil(min(spread, longest)))

    def refusal(self) -> Problem:
        """The answer to a submission that is not taken."""
        metrics.SUBMISSIONS_SHED.inc()
        return unavailable(
            "More commands wait than can be decided soon, so new requests are not taken just now. Nothing was filed. "
            "Repeat it with the same Idempotency-Key.",
            retry_after=self.retry_after(),
        )
