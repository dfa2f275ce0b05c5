"""Folders and files that the servers' users get from us, written so that nothing those users may have planted leads us astray.

Whoever gets into a server acts as its user. A folder in which we write is never that user's, no link is followed, and what is
given away is first opened, then looked at, then given.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from ops.stack.errors import StackError
from ops.stack.identity import Identity

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def ours(path: Path) -> None:
    """Make the folder, or take it back: we alone write in it, and the servers' users may pass through it.

    Raises:
        StackError: something else stands there.
    """
    handle = _open(path)
    try:
        if os.geteuid() == 0:
            os.fchown(handle, 0, 0)
        os.fchmod(handle, 0o711 if os.geteuid() == 0 else 0o700)
    finally:
        os.close(handle)


def given(path: Path, identity: Identity) -> None:
    """Make the folder, in one of `ours`, and give it to a server's user, with what a former user of the server has in it.

    Raises:
        StackError: something else stands there.
    """
    handle = _open(path)
    try:
        os.fchmod(handle, 0o700)
        former = os.fstat(handle).st_uid
        if identity.uid is None or identity.gid is None or identity.uid == former:
            return
        os.fchown(handle, identity.uid, identity.gid)
        if former == 0:
            return
        for _, folders, files, place in os.fwalk(".", dir_fd=handle, follow_symlinks=False):
            for name in (*folders, *files):
                if os.stat(name, dir_fd=place, follow_symlinks=False).st_uid == former:
                    os.chown(name, identity.uid, identity.gid, dir_fd=place, follow_symlinks=False)
    finally:
        os.close(handle)


def put(path: Path, data: bytes, identity: Identity) -> None:
    """Replace a file in a folder of `ours` in one step; the server's user alone may read it."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as out:
        out.write(data)
        if identity.uid is not None and identity.gid is not None:
            os.fchown(out.fileno(), identity.uid, identity.gid)
    partial.replace(path)


def is_ours(path: Path) -> bool:
    """Whether a folder of ours stands there: nobody else can have made what is in it."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _open(path: Path) -> int:
    try:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        return os.open(path, _FOLDER)
    except OSError as error:
        raise StackError(
            f"{path} is not a folder of the stack's: {error.strerror}. Look at who put it there, and move it away"
        ) from error
