"""Verifies the audit log for `GET /audit/verify`, in bounded time: PostgreSQL's rows, the log beside them, the checkpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import structlog

from gateway.http.problems import unavailable
from gateway.sql.database import Database
from ops.audit.source import KafkaSource
from ops.audit.verify import Trust
from ops.audit.verify import verify as verify_log
from ops.stack.errors import StackError
from schemas.notes import VerifierKey

log = structlog.get_logger(__name__)

#: Seconds for one request's chain, and for all chains.
ONE_SECONDS, ALL_SECONDS = 20.0, 600.0
#: Records behind a request's newest one that are looked through for more of it; `athena audit verify` looks through all.
TAIL = 20_000


async def verify(
    database: Database, bootstrap: str, keys: Collection[VerifierKey], request_id: str | None
) -> dict[str, Any]:
    """The answer of `GET /audit/verify`, for one request or all.

    Raises Problem 503 when PostgreSQL or Kafka is away, or it took too long.
    """
    seconds = ALL_SECONDS if request_id is None else ONE_SECONDS
    source = KafkaSource(bootstrap)
    try:
        async with database.connection() as connection:
            try:
                async with asyncio.timeout(seconds):
                    report = await verify_log(connection, source, request_id, Trust(keys), tail=TAIL)
            except TimeoutError as error:
                raise unavailable(
                    f"It could not be verified within {seconds:.0f} s. Run on the server: athena audit verify"
                ) from error
            except StackError as error:
                log.warning("the audit log cannot be read", error=str(error)[:300])
                raise unavailable("The audit log cannot be read.") from error
    finally:
        await source.close()
    return report.as_json()
