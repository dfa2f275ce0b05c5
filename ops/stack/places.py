"""Where the embedded servers keep their data.

Folders that are not the stack's own keep their permissions: where the servers' users cannot enter the home, the data goes to a
folder under /var/tmp.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Collection
from pathlib import Path

import psutil

from ops.stack.errors import StackError
from ops.stack.folders import ours
from ops.stack.home import Home
from ops.stack.identity import Identity

OUTSIDE = Path("/var/tmp")  # noqa: S108 - survives a restart of the machine; folders in it are made with random names


def place_servers(home: Home, users: Collection[Identity]) -> tuple[Path, str | None]:
    """The folder of the servers' folders, made when missing and kept in the home; a sentence when it lies outside.

    Raises:
        StackError: the folder that the home names belongs to someone else.
    """
    kept = home.choices().get("servers")
    notice = None
    if kept:
        folder = Path(kept)
        folder.parent.mkdir(parents=True, exist_ok=True)
    elif all(user.may("-x", home.path) for user in users):
        folder = home.path / "servers"
    else:
        prefix = f"athena-{hashlib.sha256(os.fsencode(home.path)).hexdigest()[:12]}-"
        _remove_left_over(prefix)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=OUTSIDE))
        names = " or ".join(dict.fromkeys(user.name for user in users))
        notice = f"The user {names} cannot enter {home.path}: Kafka and PostgreSQL keep their data in {folder}."
    owners = {os.geteuid(), *(user.uid for user in users if user.uid is not None)}
    if folder.exists() or folder.is_symlink():
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners:
            raise StackError(f"{folder} is not a folder of the stack's. Move it away, or use another home: --home DIR")
    ours(folder)
    home.choose(servers=str(folder))
    return folder, notice


def _remove_left_over(prefix: str) -> None:
    """Remove the servers' data of a deleted home at the same path; not while a process works in it."""
    in_use = set()
    for process in psutil.process_iter(["cwd"]):
        if process.info["cwd"]:
            in_use.add(process.info["cwd"])
    for folder in OUTSIDE.glob(prefix + "*"):
        if not any(Path(cwd).is_relative_to(folder) for cwd in in_use):
            shutil.rmtree(folder, ignore_errors=True)
