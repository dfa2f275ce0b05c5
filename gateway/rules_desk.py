"""Checks, compares and simulates rules files for callers, off this process: a question at a time, each within a bound."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog

from gateway.http.problems import Problem, unavailable
from gateway.turns import Turns
from ops.checking.process import DiedError, TooMuchError, Write, ask
from ops.checking.requests import copy_submissions, decision_ms
from ops.secrets.postgres import connect
from ops.secrets.secret import Secret
from ops.tls.context import Files

if TYPE_CHECKING:
    from schemas.catalog import Catalog

log = structlog.get_logger(__name__)

#: A file of the size to carry takes 3 s of CPU.
CHECK_SECONDS = 30.0
SIMULATE_SECONDS = 120.0
_CONNECT_SECONDS = 2.0
_STATEMENT = str(int(SIMULATE_SECONDS * 1000))


class RulesDesk:
    """`check` and `difference` share one place, `simulate` has another; a few wait for each, all others are sent away."""

    def __init__(self, catalog: Catalog, database_url: Secret, tls: Files | None) -> None:
        self._catalog = catalog
        self._database_url = database_url
        self._tls = tls
        self._checking = Turns(1, waiting=8, seconds=15.0, what="look at a rules file")
        self._simulating = Turns(1, waiting=1, seconds=5.0, what="simulation")

    async def check(self, yaml: str) -> list[dict[str, Any]]:
        """The findings about a file for the organisation as this gateway knows it. Raises Problem 422, 503."""
        async with self._checking.turn():
            answer = await self._ask({"ask": "check", "yaml": yaml}, CHECK_SECONDS, catalog=self._catalog)
        return list(answer["findings"])

    async def difference(self, before: str, after: str, names: tuple[str, str]) -> dict[str, Any]:
        """See `rules.difference`. Raises Problem 422, 503."""
        async with self._checking.turn():
            question = {"ask": "diff", "before": before, "after": after, "names": names}
            return dict(await self._ask(question, CHECK_SECONDS))

    async def simulate(self, yaml: str, since: datetime | None) -> dict[str, Any]:
        """What the file would do with the requests filed from `since` on; `findings` alone when it cannot be read.

        Raises:
            Problem: 503 when another simulation runs, or PostgreSQL does not answer; 422 when it takes too long.
        """
        async with self._simulating.turn():
            try:
                connection = await connect(
                    self._database_url, self._tls, timeout=_CONNECT_SECONDS, command_timeout=SIMULATE_SECONDS,
                    server_settings={"application_name": "athena-gateway", "statement_timeout": _STATEMENT},
                )  # fmt: skip
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                raise self._unreachable(error) from error
            try:
                took = await decision_ms(connection)

                async def feed(write: Write) -> None:
                    await copy_submissions(connection, since, write, SIMULATE_SECONDS)

                question = {"ask": "simulate", "yaml": yaml, "decision_ms": took}
                return dict(await self._ask(question, SIMULATE_SECONDS, catalog=self._catalog, feed=feed))
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                raise self._unreachable(error) from error
            finally:
                connection.terminate()

    @staticmethod
    async def _ask(question: dict[str, Any], seconds: float, **more: Any) -> Any:
        try:
            return await ask(question, more.get("catalog"), seconds, more.get("feed"))
        except TooMuchError as error:
            log.warning("a rules file took too much", asked=question["ask"], error=str(error))
            text = f"This took more than {seconds:.0f} s or too much memory: write fewer rules, or shorter lists."
            raise Problem(422, "invalid", text) from None
        except (DiedError, OSError) as error:
            log.error("a rules file cannot be looked at", error=f"{type(error).__name__}: {error}"[:300])
            raise unavailable("Rules files cannot be looked at just now.", 5) from error

    @staticmethod
    def _unreachable(error: BaseException) -> Problem:
        log.warning("PostgreSQL does not answer", error=f"{type(error).__name__}: {error}"[:300])
        return unavailable("The database cannot be reached.")
