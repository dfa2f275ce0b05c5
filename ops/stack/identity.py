"""As whom the embedded servers run, and where that user can keep their data.

PostgreSQL refuses to run as root, so under root both servers run as an ordinary user. Folders that are not the stack's
own keep their permissions: where that user cannot enter the home, the data goes to a folder under /var/tmp.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ops.stack.errors import StackError
from ops.stack.home import Home

OUTSIDE = Path("/var/tmp")  # noqa: S108 - survives a restart of the machine; folders in it are made with random names


@dataclass(frozen=True)
class Identity:
    """The user that the embedded servers run as; `uid` None means the one who calls."""

    name: str
    uid: int | None = None
    gid: int | None = None

    def popen(self) -> dict[str, Any]:
        """Keyword arguments that make `subprocess` start a program as this user."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give a file or folder to this user."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def may(self, test: str, path: Path) -> bool:
        """What `test -r|-w|-x PATH` says to this user."""
        program = shutil.which("test") or "/usr/bin/test"
        done = subprocess.run([program, test, str(path)], check=False, cwd="/", timeout=10, **self.popen())
        return done.returncode == 0


def server_identity() -> Identity:
    """`postgres`, else `nobody`, when the caller is root; the caller otherwise.

    Raises:
        StackError: root, and neither user exists.
    """
    if os.geteuid() != 0:
        return Identity(pwd.getpwuid(os.geteuid()).pw_name)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Identity(name, entry.pw_uid, entry.pw_gid)
    raise StackError(
        "PostgreSQL refuses to run as root, and there is no user postgres or nobody. Add one: useradd postgres"
    )


def place_servers(home: Home, identity: Identity) -> tuple[Path, str | None]:
    """The folder of the servers' data, made when missing and kept in the home; a sentence when it lies outside.

    Raises:
        StackError: the folder that the home names belongs to someone else.
    """
    kept = home.choices().get("servers")
    notice = None
    if kept:
        folder = Path(kept)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif identity.may("-x", home.path):
        folder = home.path / "servers"
        folder.mkdir(mode=0o700, exist_ok=True)
    else:
        prefix = f"athena-{hashlib.sha256(os.fsencode(home.path)).hexdigest()[:12]}-"
        _remove_left_over(prefix)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=OUTSIDE))
        notice = f"The user {identity.name} cannot enter {home.path}: Kafka and PostgreSQL keep their data in {folder}."
    found = folder.lstat()
    owner = {os.geteuid(), identity.uid if identity.uid is not None else os.geteuid()}
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owner:
        raise StackError(
            f"{folder} is not a folder of {identity.name}'s. Move it away, or use another home: --home DIR"
        )
    identity.own(folder)
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
