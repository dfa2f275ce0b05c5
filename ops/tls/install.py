"""The embedded servers' copies of their certificates: each server runs as a user of its own, who may read its own alone."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from ops.stack.folders import ours, put
from ops.stack.identity import Identity
from ops.tls.store import Certificates


def folder_of(servers: Path, server: str) -> Path:
    """Where the copies of `kafka` or `postgres` lie."""
    return servers / f"{server}-tls"


def install(certificates: Certificates, servers: Path, users: Mapping[str, Identity]) -> None:
    """Copy what each server shows and whom it believes, each file in one step.

    Raises:
        StackError: something else stands where a folder should be.
    """
    for server, user in users.items():
        folder = folder_of(servers, server)
        ours(folder)
        for source in (certificates.ca, certificates.file(server)):
            put(folder / source.name, source.read_bytes(), user)
    # Of a former release: both keys in one folder of one user.
    shutil.rmtree(servers / "tls", ignore_errors=True)
