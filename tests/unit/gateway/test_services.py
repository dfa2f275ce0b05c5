"""What the gateway does while PostgreSQL or a part of its own does not work, without either of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from gateway import services as module
from gateway.http import edge
from gateway.http.paths import Paths
from gateway.http.problems import Problem
from gateway.routes.table import ENDPOINTS
from gateway.services import Services
from gateway.sql import commands, credentials, database, sessions, turns
from ops.settings import Settings

#: Nobody listens there: a test that forgets to stand in for a server fails at once.
URL = "postgresql://athena:secret-secret@127.0.0.1:9/athena"
ERRORS: list[type[asyncpg.PostgresError]] = [
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TooManyConnectionsError,
    asyncpg.CannotConnectNowError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
]
Work = Callable[[], Awaitable[None]]


async def nothing() -> None:
    """Starts or stops at once."""


def counted(calls: list[str], name: str, *errors: Exception) -> Callable[..., Awaitable[None]]:
    """Fails with each of the errors in turn, then works."""
    left = iter(errors)

    async def work(*_: object) -> None:
        calls.append(name)
        if (error := next(left, None)) is not None:
            raise error

    return work


@pytest.fixture
def made(jwks: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Callable[[], Services]:
    """Services of which no part speaks to a server, but for the database, which a test stands in for. Call it on a loop."""

    def make() -> Services:
        services = Services(
            Settings(token_keys=json.dumps(jwks), cursor_key="k" * 40, database_url=URL)  # type: ignore[arg-type]
        )
        parts: tuple[Any, ...] = (
            services.producer, services.outcomes, services.follower, services.revocations, services.worker_lag,
        )  # fmt: skip
        for part in parts:
            for name in ("start", "stop"):
                monkeypatch.setattr(part, name, nothing)
        monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)
        return services

    return make


async def soon(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not met():  # noqa: ASYNC110 - what is waited for is a field
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("error", ERRORS)
def test_a_database_that_lets_nobody_in_is_unavailable(
    error: type[asyncpg.PostgresError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong password of the database would be answered 500, as if the caller's call were to blame."""

    async def connect(*_: object, **__: object) -> None:
        raise error("no")

    monkeypatch.setattr(database, "connect", connect)
    with pytest.raises(Problem) as caught:
        asyncio.run(database.Database(URL).start())
    assert (caught.value.status, caught.value.code) == (503, "unavailable")


@pytest.mark.parametrize("error", [asyncpg.InvalidPasswordError("no"), asyncpg.UndefinedTableError("no")])
def test_the_gateway_becomes_ready_once_the_database_lets_it_in(
    made: Callable[[], Services], error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mended password would need a restart of every gateway, and no line of the log would say so."""
    calls: list[str] = []

    async def run() -> None:
        services = made()
        monkeypatch.setattr(services.database, "start", counted(calls, "start", error, error))
        for table in (commands, sessions, credentials, turns):
            monkeypatch.setattr(table, "forget_old", counted([], "forget"))
        await services.start()
        await soon(lambda: services.started)
        await services.stop()

    with capture_logs() as logs:
        asyncio.run(run())
    assert len(calls) == 3
    assert [line["what"] for line in logs if "trying again" in line["event"]] == ["PostgreSQL"] * 2


def test_a_bug_while_connecting_ends_the_process(made: Callable[[], Services], monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway would be not ready for ever, while whoever starts it takes it for healthy."""
    bug = ValueError("a bug")

    async def run() -> None:
        services = made()
        monkeypatch.setattr(services.database, "start", counted([], "start", bug))
        await services.start()
        await soon(lambda: services.failed is not None)
        assert services.failed is bug
        await services.stop()

    with capture_logs() as logs:
        asyncio.run(run())
    assert [line for line in logs if line["log_level"] == "error"]


def test_old_rows_are_removed_again_after_a_failure(
    made: Callable[[], Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One error of PostgreSQL would let sessions and links that are over pile up until the next restart."""
    calls: list[str] = []

    async def run() -> None:
        services = made()
        monkeypatch.setattr(services.database, "start", nothing)
        monkeypatch.setattr(module, "_CLEANING_SECONDS", 0.01)
        errors = [asyncpg.DataError("no"), Problem(503, "unavailable", "no"), RuntimeError("no")]
        monkeypatch.setattr(commands, "forget_old", counted(calls, "commands", *errors))
        for table in (sessions, credentials, turns):
            monkeypatch.setattr(table, "forget_old", counted(calls, table.__name__))
        await services.start()
        await soon(lambda: calls.count("commands") > 4)
        assert calls.count(turns.__name__) > 3 and services.failed is None
        await services.stop()

    with capture_logs() as logs:
        asyncio.run(run())
    assert len([line for line in logs if "old rows" in line["event"]]) == 2


def test_readiness_says_no_whatever_postgresql_answers(
    made: Callable[[], Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks whether the gateway is ready is answered 500, and cannot see what is missing."""

    async def run() -> dict[str, bool]:
        services = made()
        monkeypatch.setattr(services.database, "value", counted([], "value", asyncpg.InsufficientPrivilegeError("no")))
        return await services.checks()

    assert asyncio.run(run())["postgres"] is False


def test_all_who_ask_whether_it_is_ready_share_one_check(
    made: Callable[[], Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody could have the gateway ask PostgreSQL and Kafka thousands of times a second, and use up its connections."""
    asked: list[str] = []

    async def value(_statement: str) -> None:
        asked.append("PostgreSQL")
        await asyncio.sleep(0.02)

    async def run() -> None:
        services = made()
        monkeypatch.setattr(services.database, "value", value)
        first = asyncio.create_task(services.checks())
        others = [asyncio.create_task(services.checks()) for _ in range(50)]
        await asyncio.sleep(0.01)
        first.cancel()
        found = await asyncio.gather(*others)
        assert all(one["postgres"] for one in found) and len(asked) == 1
        await asyncio.sleep(0.02)
        assert (await services.checks())["postgres"] and len(asked) == 2
        await services.stop()

    asyncio.run(run())


def test_who_asks_whether_it_is_ready_takes_nobody_s_place(
    made: Callable[[], Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks that wait for a database that is away fill the gateway, and people's calls are refused."""
    monkeypatch.setattr(edge, "MAX_IN_PROGRESS", 1)
    gate = asyncio.Event()
    statuses: list[int] = []

    async def value(_statement: str) -> None:
        await gate.wait()

    async def call(app: edge.Edge, path: str) -> None:
        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        scope = {
            "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": [],
            "client": ("192.0.2.7", 4711),
        }  # fmt: skip
        await app(scope, receive, send)

    async def receive() -> Any:
        raise AssertionError("nothing has a body")

    async def run() -> None:
        services = made()
        services.started = True
        monkeypatch.setattr(services.database, "value", value)
        monkeypatch.setattr(services.follower, "end_offset", nothing)
        app = edge.Edge(Paths(ENDPOINTS), services, lambda *_: nothing())
        checks = [asyncio.create_task(call(app, "/readyz")) for _ in range(5)]
        await asyncio.sleep(0.01)
        await call(app, "/.well-known/jwks.json")
        assert statuses == [200]
        gate.set()
        await asyncio.gather(*checks)
        assert len(statuses) == 6
        await services.stop()

    asyncio.run(run())
