"""Loopback ports: found once per home, kept, and changed only when another program took them meanwhile."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ops.stack.errors import StackError
from ops.stack.home import LOOPBACK, Home

GATEWAY_DEFAULT = 8000
# Below the kernel's range for outgoing connections, so that none of those can take a port while the stack is down.
FIRST, LAST = 15000, 30000


#: Open lock files of the ports that this process has reserved.
_reserved: dict[int, int] = {}


def reserve(port: int) -> bool:
    """Keep the port from other stacks for as long as this process lives; False when another one has reserved it.

    Two stacks that start together would otherwise both find the same port free.
    """
    if port in _reserved:
        return True
    path = Path(tempfile.gettempdir()) / f"athena-port-{port}.lock"
    try:
        lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError:
        return True  # another user's file: the lock is a courtesy between one's own stacks
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return False
    _reserved[port] = lock
    return True


def is_kept(port: int) -> bool:
    """Whether a stack has reserved the port, be it in use or not."""
    if port in _reserved:
        return True
    kept = not reserve(port)
    if port in _reserved:
        os.close(_reserved.pop(port))
    return kept


def is_free(port: int) -> bool:
    """Whether a server could listen on the loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def find_free(taken: Iterable[int]) -> int:
    """A free loopback port that is not in `taken`.

    Raises:
        StackError: 500 random tries found none.
    """
    avoid = set(taken)
    for _ in range(500):
        port = random.randrange(FIRST, LAST)  # noqa: S311 - not a secret
        if port not in avoid and is_free(port) and reserve(port):
            return port
    raise StackError(f"Found no free port between {FIRST} and {LAST} on {LOOPBACK}. Stop other stacks: athena down")


def assign(home: Home, names: Iterable[str], gateway: int | None) -> list[str]:
    """Give every name a port and keep them in the home; `gateway` is the one asked for.

    Returns one sentence for each port that had to change.

    Raises:
        StackError: the gateway's port was asked for and is taken.
    """
    ports: dict[str, int] = dict(home.choices().get("ports", {}))
    notices = []
    if gateway is not None:
        if not (is_free(gateway) and reserve(gateway)):
            raise StackError(f"Port {gateway} on {LOOPBACK} is taken by another program. Name another one: --port N")
        ports["gateway"] = gateway
    elif "gateway" not in ports and is_free(GATEWAY_DEFAULT) and reserve(GATEWAY_DEFAULT):
        ports["gateway"] = GATEWAY_DEFAULT
    for name in names:
        kept = ports.get(name)
        if kept is not None and is_free(kept) and reserve(kept):
            continue
        ports[name] = find_free(ports.values())
        if kept is not None:
            notices.append(f"Port {kept} of {name} is taken by another program; it is {ports[name]} now.")
    home.choose(ports=ports)
    return notices
