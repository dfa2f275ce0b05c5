"""Every connection to PostgreSQL is made here. A URL says by libpq's own words how: whoever has it, psql too, needs no more."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from ops.stack.errors import Misuse
from ops.tls.context import Files, client_context

if TYPE_CHECKING:
    import asyncpg

#: libpq's word for a server whose certificate and name are checked.
_WHOLE = "verify-full"

# asyncpg is imported where it connects: the supervisor makes URLs only, and stays small.
# ruff: noqa: PLC0415


def with_tls(url: str, files: Files | None) -> str:
    """The URL with our certificate in it, unless it names files itself; the server's name is checked.

    Raises:
        Misuse: the URL asks for a line that is protected less well than the settings say.
    """
    query = urlsplit(url).query
    if files is None:
        return url
    modes = parse_qs(query).get("sslmode")
    if modes is not None:
        if set(modes) != {_WHOLE}:
            raise Misuse(
                f"ATHENA_DATABASE_URL says sslmode={modes[-1]}, and ATHENA_TLS_* want both sides proved. Leave sslmode out of "
                f"the URL, or write {_WHOLE}."
            )
        return url
    added = {"sslmode": _WHOLE, "sslrootcert": files.ca, "sslcert": files.cert, "sslkey": files.key}
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
    if said.get("sslmode") != _WHOLE or not said.keys() >= {"sslrootcert", "sslcert", "sslkey"}:
        return {}
    # asyncpg would read the same files anew for each connection; ours stands the moment in which they are replaced.
    files = Files(*(Path(said[name]) for name in ("sslrootcert", "sslcert", "sslkey")))
    return {"ssl": client_context(files, "postgres")}
