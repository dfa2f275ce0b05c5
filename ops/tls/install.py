"""The embedded servers' copies of their certificates: they run as a user of their own, who may not read the home's."""

from __future__ import annotations

import os
from pathlib import Path

from ops.stack.identity import Identity
from ops.tls.store import Certificates

SERVERS = ("kafka", "postgres")


def folder_of(servers: Path) -> Path:
    """Where the copies lie."""
    return servers / "tls"


def install(certificates: Certificates, servers: Path, identity: Identity) -> None:
    """Copy what the servers show and whom they believe, each file in one step."""
    folder = folder_of(servers)
    folder.mkdir(mode=0o700, exist_ok=True)
    identity.own(folder)
    for source in (certificates.ca, *(certificates.file(name) for name in SERVERS)):
        put(folder / source.name, source.read_bytes(), identity)


def put(path: Path, data: bytes, identity: Identity) -> None:
    """Write a file that the servers' user alone may read."""
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    # The folder is that user's: what stands there under this name is not to be written through, nor given away.
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as out:
        out.write(data)
        if identity.uid is not None and identity.gid is not None:
            os.fchown(out.fileno(), identity.uid, identity.gid)
    partial.replace(path)
