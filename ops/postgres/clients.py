"""Every connection to PostgreSQL is made here. A URL says by libpq's own words how: whoever has it, psql too, needs no more."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from ops.tls.context import Files, client_context

if TYPE_CHECKING:
    import asyncpg

# asyncpg is imported where it connects: the supervisor makes URLs only, and stays small.
# ruff: noqa: PLC0415


def with_tls(url: str, files: Files | None) -> str:
    """The URL with our certificate in it, unless it says itself how its line is protected; the server's name is checked."""
    query = urlsplit(url).query
    if files is None or "sslmode" in parse_qs(query):
        return url
    added = {"sslmode": "verify-full", "sslrootcert": files.ca, "sslcert": files.cert, "sslkey": files.key}
    return f"{url}{'&' if query else '?'}{urlencode(added)}"


async def connect(url: str, **options: Any) -> asyncpg.Connection:
    """A connection; options are asyncpg's, and what it raises.

    Raises:
        StackError: the certificates that the URL names cannot be used.
    """
    import asyncpg

    return await asyncpg.connect(url, **_line(url), **options)


def _line(url: str) -> dict[str, ssl.SSLContext]:
    said = {name: values[-1] for name, values in parse_qs(urlsplit(url).query).items()}
    if said.get("sslmode") != "verify-full" or not said.keys() >= {"sslrootcert", "sslcert", "sslkey"}:
        return {}
    # asyncpg would read the same files anew for each connection; ours stands the moment in which they are replaced.
    return {"ssl": client_context(Files(*(Path(said[name]) for name in ("sslrootcert", "sslcert", "sslkey"))))}
