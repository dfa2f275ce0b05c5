"""Connections to PostgreSQL whose password may change while the process runs."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import asyncpg
import structlog

from ops.postgres import clients
from ops.secrets import metrics
from ops.secrets.secret import BadSecret, Secret
from ops.tls.context import Files

log = structlog.get_logger(__name__)

_LOGIN_REFUSED = (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)


def check_url(text: str) -> None:
    """Raises BadSecret for what is no URL of PostgreSQL: the driver's own error would show it, password and all."""
    try:
        parts = urlsplit(text)
        if parts.scheme not in {"postgresql", "postgres"} or parts.port == 0:
            raise ValueError
    except ValueError:
        raise BadSecret("it is no URL like postgresql://user:password@host:port/database") from None


async def connect(dsn: str | Secret, tls: Files | None = None, **options: Any) -> asyncpg.Connection:
    """A connection by the DSN, or by the secret that holds it, with our certificate where the DSN names none itself; `options`
    and errors are those of `asyncpg.connect`.

    Where PostgreSQL refuses the login of a DSN that was changed, the one before is tried: so it does not matter whether the
    password is changed in PostgreSQL first or in the secret.
    """
    dsns = dsn.texts() if isinstance(dsn, Secret) else (dsn,)
    try:
        return await clients.connect(clients.with_tls(dsns[0], tls), **options)
    except _LOGIN_REFUSED:
        if len(dsns) == 1:
            raise
    connection = await clients.connect(clients.with_tls(dsns[1], tls), **options)
    metrics.LOGIN_FALLBACKS.inc()
    log.warning("PostgreSQL refuses the new login; the former one was used", setting=getattr(dsn, "name", ""))
    return connection
