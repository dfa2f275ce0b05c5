"""Loopback ports of stacks that run beside each other."""

from __future__ import annotations

import subprocess
import sys

from ops.stack.ports import find_free, is_free, is_kept

_HOLD = "import sys; from ops.stack.ports import find_free; print(find_free(()), flush=True); sys.stdin.read()"


def test_a_port_that_another_stack_keeps_is_seen_although_nothing_listens() -> None:
    """A stack that is told to take it does not start, now and then."""
    with subprocess.Popen([sys.executable, "-c", _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        assert is_free(port)
        assert is_kept(port)
        other.communicate(timeout=20)
    assert not is_kept(port), "it was given up"
    assert not is_kept(port), "to ask is not to keep"


def test_our_own_ports_are_kept() -> None:
    assert is_kept(find_free(()))
