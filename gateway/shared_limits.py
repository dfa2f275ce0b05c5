"""Rate limits that all gateways share, counted in Redis by the `limits` package (see ADR 16).

Redis is never waited for longer than `ATHENA_REDIS_SECONDS`. While it is away each gateway's own buckets hold alone.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable

import structlog
from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway import metrics
from gateway.limits import Rate
from ops.stack.errors import WrongSettings

log = structlog.get_logger(__name__)

#: After a failure nobody asks for this long, more or less; then one call tries.
PAUSE_SECONDS = 1.0
MAX_CONNECTIONS = 32
KEY_PREFIX = "athena-limits"


class RedisLimits:
    """See `gateway.limits.Shared`. `seconds` for one question, connecting included.

    Raises SystemExit for a URL that is none of Redis.
    """

    def __init__(self, url: str, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        try:
            self._pool = BlockingConnectionPool.from_url(
                url,
                max_connections=MAX_CONNECTIONS,
                timeout=seconds,
                socket_timeout=seconds,
                socket_connect_timeout=seconds,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError:
            raise WrongSettings(
                "ATHENA_REDIS_URL is not a URL of Redis. Write for instance redis://:password@host:6379/0"
            ) from None
        storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=KEY_PREFIX,
            connection_pool=self._pool,  # type: ignore[arg-type]  # as its documentation says
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._seconds = seconds
        self._clock = clock
        self._away = False
        self._asks_again_at = 0.0
        metrics.SHARED_LIMITS.set(1)

    async def take(self, rate: Rate, key: str, cost: int = 1) -> float:
        """0 when the calls may go on or Redis does not say, else the seconds until they may."""
        if self._away:
            if self._clock() < self._asks_again_at:
                return 0.0
            self._pause()  # the others go by while this call tries
        item = window_of(rate)
        try:
            async with asyncio.timeout(self._seconds):
                if await self._limiter.hit(item, rate.scope, key, cost=cost):
                    wait = 0.0
                else:
                    stats = await self._limiter.get_window_stats(item, rate.scope, key)
                    wait = max(stats.reset_time - time.time(), 1 / rate.per_second)
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return 0.0
        if self._away:
            self._away = False
            metrics.SHARED_LIMITS.set(1)
            log.info("Redis answers again; rate limits are shared among gateways")
        return wait

    async def stop(self) -> None:
        """Close the connections."""
        await self._pool.disconnect()

    def _failed(self, error: BaseException) -> None:
        metrics.SHARED_LIMITS_FAILURES.inc()
        self._pause()
        if not self._away:
            self._away = True
            metrics.SHARED_LIMITS.set(0)
            log.warning(
                "Redis does not answer in time; this gateway counts rates alone until it does",
                error=type(error).__name__,
                seconds=self._seconds,
            )

    def _pause(self) -> None:
        self._asks_again_at = self._clock() + PAUSE_SECONDS * random.uniform(0.75, 1.25)  # noqa: S311 - jitter


def window_of(rate: Rate) -> RateLimitItemPerSecond:
    """The burst, in as many whole seconds as the rate takes for it: never more than the rate allows."""
    return RateLimitItemPerSecond(rate.burst, math.ceil(rate.burst / rate.per_second))
