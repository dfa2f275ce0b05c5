"""As whom the embedded servers run.

PostgreSQL refuses to run as root, so under root each server runs as an ordinary user; Kafka as another one than PostgreSQL, since
whoever is a superuser in PostgreSQL can do what its user can: read the broker's key, if that user had it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.stack.errors import StackError


@dataclass(frozen=True)
class Identity:
    """The user that a server runs as; `uid` None means the one who calls."""

    name: str
    uid: int | None = None
    gid: int | None = None

    def popen(self) -> dict[str, Any]:
        """Keyword arguments that make `subprocess` start a program as this user."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def may(self, test: str, path: Path) -> bool:
        """What `test -r|-w|-x PATH` says to this user."""
        program = shutil.which("test") or "/usr/bin/test"
        done = subprocess.run([program, test, str(path)], check=False, cwd="/", timeout=10, **self.popen())
        return done.returncode == 0


def identities() -> dict[str, Identity]:
    """The users of `kafka` and `postgres`: two of the machine's ordinary users when the caller is root; the caller otherwise.

    Raises:
        StackError: root, and there is no such user.
    """
    if os.geteuid() != 0:
        caller = Identity(pwd.getpwuid(os.geteuid()).pw_name)
        return {"kafka": caller, "postgres": caller}
    database = _first("postgres", "nobody")
    if database is None:
        raise StackError(
            "PostgreSQL refuses to run as root, and there is no user postgres or nobody. Add one: useradd postgres"
        )
    others = [name for name in ("kafka", "nobody", "daemon") if name != database.name]
    return {"kafka": _first(*others) or database, "postgres": database}


def _first(*names: str) -> Identity | None:
    for name in names:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Identity(name, entry.pw_uid, entry.pw_gid)
    return None
