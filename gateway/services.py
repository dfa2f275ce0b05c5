"""What the endpoints work with, put together in one place; started and stopped as one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any

import asyncpg
import orjson
import structlog
from aiokafka.errors import KafkaError

from gateway import chance
from gateway.backpressure import Backpressure
from gateway.directory import Directory
from gateway.feed.live import Live
from gateway.http.addresses import Proxies
from gateway.http.cors import Cors
from gateway.http.cursors import Cursors
from gateway.http.problems import Problem
from gateway.http.public import PublicUrl
from gateway.identity.accounts import Accounts
from gateway.identity.callers import Callers
from gateway.identity.devices import DeviceCookies
from gateway.identity.dpop import Proofs
from gateway.identity.grants import Grants
from gateway.identity.keys import KeyRing
from gateway.identity.pace import Pace
from gateway.identity.passwords import Passwords
from gateway.identity.provider.provider import Provider
from gateway.identity.provider.registration import registration
from gateway.identity.revocations import Revocations
from gateway.identity.tokens import Tokens
from gateway.limits import Limits
from gateway.openapi import document
from gateway.rules_desk import RulesDesk
from gateway.rules_publishing import RulesPublishing
from gateway.shared_limits import RedisLimits
from gateway.sql import commands, credentials, sessions, sync_ops, turns
from gateway.sql.database import Database
from gateway.streams.issued import Issued
from gateway.streams.lag import WorkerLag
from gateway.streams.outcomes import Outcomes
from gateway.streams.producer import Producer
from gateway.streams.security import SecurityLog
from gateway.turns import Turns
from ops.reference import ReferenceFollower
from ops.secrets.postgres import check_url
from ops.secrets.process import Secrets
from ops.secrets.secret import BadSecret
from ops.settings import Settings
from schemas.catalog import Catalog
from schemas.notes import NoteError, VerifierKey

log = structlog.get_logger(__name__)

_RETRY_SECONDS = 0.5
_CHECK_SECONDS = 2.0
_CLEANING_SECONDS = 3600.0


class Services:
    """Raises SystemExit for settings that cannot work. `started` once all connections were made."""

    _stopped = False

    def __init__(self, settings: Settings) -> None:
        self.secrets = Secrets(settings)
        keys = self.secrets.take("token_keys", KeyRing.parse)
        self.key = key = self.secrets.take("cursor_key", _cursor_keys)
        vkeys = self.secrets.take("checkpoint_vkeys", _vkeys, least=0)
        self.database_url = self.secrets.take("database_url", check_url)
        kafka = settings.kafka
        self.settings = settings
        self.catalog = Catalog()
        self.directory = Directory(self.catalog)
        self.database = Database(self.database_url, tls=settings.tls)
        self.producer = Producer(kafka)
        self.outcomes = Outcomes(kafka, settings.partitions)
        self.follower = ReferenceFollower(kafka, self.catalog)
        self.tokens = Tokens(keys.current(), settings.token_issuer, settings.token_audience)
        keys.subscribe(self.tokens.renew)
        self.public = PublicUrl.of(settings)
        self.proofs = Proofs(self.public)
        self.revocations = Revocations(self.database)
        self.accounts = Accounts(self.catalog, self.database, self.follower.catch_up)
        self.callers = Callers(self.tokens, self.proofs, self.revocations, self.accounts, keys.refetch)
        self.grants = Grants(self.database, self.tokens, key)
        self.passwords = Passwords()
        self.cookies = DeviceCookies(key)
        self.pace = Pace(self.database)
        self.security = SecurityLog(self.producer)
        self.issued = Issued(self.database)
        self.backpressure = Backpressure(settings.backpressure_lag)
        self.worker_lag = WorkerLag(kafka, settings.partitions, self.backpressure)
        #: Random hex digits for so many bytes, and the time in ms: what a command needs that is not in the call.
        self.nonce: Callable[[int], str] = chance.digits
        self.now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
        self.cursors = Cursors(key)
        known = registration(settings, self.secrets.take("oidc_client_secret", least=0))
        #: None: people sign in with passwords alone.
        self.provider = None if known is None else Provider(known, self.cursors)
        self.proxies = Proxies(settings.trusted_proxies, settings.proxy_header)
        self.cors = Cors(settings.cors_origins)
        redis_url = settings.redis_url.get_secret_value()
        self.shared_limits = RedisLimits(redis_url, settings.redis_seconds) if redis_url else None
        self.limits = Limits(settings, self.shared_limits)
        #: One verification of all chains at a time.
        self.verification = Turns(1, waiting=4, seconds=30.0)
        #: And a few of one request's: each reads from Kafka over connections of its own.
        self.verification_of_one = Turns(4, waiting=16, seconds=20.0)
        self.vkeys = _vkeys(vkeys.current())
        vkeys.subscribe(self._trust)
        self.started = False
        self.stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._failed: BaseException | None = None
        self._checked: tuple[float, dict[str, bool]] = (float("-inf"), {})
        self._checking: asyncio.Task[dict[str, bool]] | None = None
        if not self.limits.on:
            log.warning("rate limits are off; this is for load tests on one's own machine only")

    @cached_property
    def tails(self) -> Turns:
        """Looks at the log for what the read side does not have yet, each over a connection of its own."""
        return Turns(4, waiting=16, seconds=2.0, what="look at the log")

    @cached_property
    def rules_desk(self) -> RulesDesk:
        """Looks at rules files."""
        return RulesDesk(self.catalog, self.database_url, self.settings.tls)

    @cached_property
    def rules_publishing(self) -> RulesPublishing:
        """Sends rules files to be published."""
        return RulesPublishing(self.catalog, self.rules_desk, self.outcomes)

    @cached_property
    def live(self) -> Live:
        """Live events."""
        return Live(self.settings, self.database, self.revocations, self.accounts, self.catalog, lambda: self.now_ms())  # noqa: PLW0108 - tests replace it

    @cached_property
    def openapi(self) -> bytes:
        """The OpenAPI document."""
        return orjson.dumps(document())

    @cached_property
    def imports(self) -> Turns:
        """One file of reference data at a time: its check takes a core for a second."""
        return Turns(1, waiting=4, seconds=30.0, what="import")

    async def start(self) -> None:
        """Begin to connect, and go on until all is there; calls are answered 503 until then."""
        self._tasks.append(asyncio.create_task(self.secrets.watch(), name="secrets"))
        connect = asyncio.create_task(self._connect(), name="connect")
        connect.add_done_callback(self._ended)
        self._tasks.append(connect)

    async def stop(self) -> None:
        """Stop within a few seconds."""
        self.started, self._stopped = False, True
        tasks: list[asyncio.Task[Any]] = [*self._tasks, *filter(None, [self._checking])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.security.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3.0):
                await asyncio.gather(
                    self.producer.stop(),
                    self.outcomes.stop(),
                    self.follower.stop(),
                    self.revocations.stop(),
                    self.accounts.stop(),
                    self.worker_lag.stop(),
                    self.live.stop(),
                    return_exceptions=True,
                )
        if self.provider is not None:
            await self.provider.stop()
        await self.database.stop(1.0)
        if self.shared_limits is not None:
            await self.shared_limits.stop()
        self.passwords.stop()

    def close(self) -> None:
        """The end is near: not ready any more."""
        self.stopping = True
        self.live.close()

    @property
    def failed(self) -> BaseException | None:
        """Why this process must end and be started anew."""
        return self._failed or self.follower.failed

    async def checks(self) -> dict[str, bool]:
        """What readiness needs, each checked for real; an answer is kept for half a second, and all who ask meanwhile wait for the
        same one.
        """
        at, found = self._checked
        if time.monotonic() - at > _RETRY_SECONDS or not found:
            if self._checking is None or self._checking.done():
                self._checking = asyncio.create_task(self._check(), name="check")
            found = await asyncio.shield(self._checking)  # whoever goes away takes no answer from the others
        return {**found, "not_stopping": not self.stopping}

    async def _check(self) -> dict[str, bool]:
        kafka, postgres = await asyncio.gather(_answers(self._ask_kafka), _answers(self._ask_postgres))
        found = {
            "kafka": kafka and self.producer.ready,
            "outcomes": self.outcomes.ready,
            "reference": self.started and self.follower.failed is None,
            "postgres": postgres,
        }
        self._checked = (time.monotonic(), found)
        return found

    def _ended(self, connect: asyncio.Task[None]) -> None:
        """It ends with a bug alone: without it this process would be not ready for ever, and say nothing."""
        error = asyncio.CancelledError("from within") if connect.cancelled() else connect.exception()
        if error is not None and not self._stopped:
            log.error("connecting failed for good", exc_info=error)
            self._failed = error

    def _trust(self, text: str) -> None:
        self.vkeys = _vkeys(text)

    async def _ask_kafka(self) -> None:
        if not self.started:
            raise TimeoutError
        await self.follower.end_offset()

    async def _ask_postgres(self) -> None:
        await self.database.value("SELECT 1")

    async def _connect(self) -> None:
        async def database() -> None:
            await self.database.start()
            await self.revocations.start()

        await asyncio.gather(
            _insist("PostgreSQL", database, self.database.stop),
            _insist("Kafka (commands)", self.producer.start),
            _insist("Kafka (outcomes)", self.outcomes.start),
            _insist("Kafka (reference data)", self.follower.start, self.follower.stop),
        )
        self.accounts.start()
        self.live.start()
        await self.worker_lag.start()
        self.started = True
        log.info("the gateway is ready", reference_offset=self.catalog.offset)
        while True:
            for table in (commands, sync_ops, sessions, credentials, turns):
                try:
                    await table.forget_old(self.database)
                except Problem:
                    pass  # logged where it was made
                except Exception:
                    log.exception("old rows could not be removed; trying again in an hour", table=table.__name__)
            await asyncio.sleep(_CLEANING_SECONDS)


def _vkeys(text: str) -> list[VerifierKey]:
    try:
        return [VerifierKey.parse(line) for line in text.splitlines() if line.strip()]
    except NoteError as error:
        raise BadSecret(str(error)) from error


def _cursor_keys(text: str) -> None:
    if not text.split() or any(len(key) < 32 for key in text.split()):
        raise BadSecret("every key of it must have at least 32 characters")


async def _answers(ask: Callable[[], Awaitable[None]]) -> bool:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await ask()
    except (TimeoutError, Problem, KafkaError, OSError, asyncpg.PostgresError):
        return False
    return True


async def _insist(
    what: str, start: Callable[[], Awaitable[None]], undo: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Start it, again and again until that works."""
    while True:
        try:
            await start()
            return
        except (Problem, KafkaError, asyncpg.PostgresError, OSError, TimeoutError, RuntimeError) as error:
            log.warning(
                "cannot be reached yet; trying again", what=what, error=f"{type(error).__name__}: {error}"[:300]
            )
        if undo is not None:
            await undo()
        await asyncio.sleep(_RETRY_SECONDS)
