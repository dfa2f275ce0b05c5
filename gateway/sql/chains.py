"""Verifies the audit log for `GET /audit/verify`, in bounded time: PostgreSQL's rows, the log beside them, the checkpoints."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from typing import Any

import structlog

from gateway.http.problems import unavailable
from gateway.sql.database import Database
from ops.audit.apart import verify_apart
from ops.audit.source import KafkaSource
from ops.audit.verify import Trust, verify
from ops.kafka_clients import Kafka
from ops.stack.errors import StackError
from schemas.notes import VerifierKey

log = structlog.get_logger(__name__)

#: Seconds for one request's chain, and for all chains.
ONE_SECONDS, ALL_SECONDS = 20.0, 600.0
#: Records behind a request's newest one that are looked through for more of it; `athena audit verify` looks through all.
TAIL = 20_000


async def verify_all(dsn: str, kafka: Kafka, keys: Collection[VerifierKey]) -> dict[str, Any]:
    """The answer for all chains, by a process apart. Raises Problem 503 when PostgreSQL or Kafka is away, or it took too long."""
    async with _within(ALL_SECONDS):
        return await verify_apart(dsn, kafka, keys)


async def verify_one(database: Database, kafka: Kafka, request_id: str) -> dict[str, Any]:
    """The answer for one request. Raises Problem 503 as `verify_all`."""
    source = KafkaSource(kafka)
    try:
        async with database.connection() as connection, _within(ONE_SECONDS):
            return (await verify(connection, source, request_id, Trust(), tail=TAIL)).as_json()
    finally:
        await source.close()


@contextlib.asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise unavailable(
            f"It could not be verified within {seconds:.0f} s. Run on the server: athena audit verify"
        ) from error
    except StackError as error:
        log.warning("the audit log cannot be read", error=str(error)[:300])
        raise unavailable("The audit log cannot be read.") from error
