"""What processes cost, from /proc: CPU with dead and waited-for children, and memory as Pss."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class _Stat:
    parent: int
    own: float
    waited: float


def _stat(pid: int) -> _Stat | None:
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    rest = text[text.rindex(")") + 2 :].split()
    return _Stat(int(rest[1]), (int(rest[11]) + int(rest[12])) / TICKS, (int(rest[13]) + int(rest[14])) / TICKS)


def _trees(roots: Mapping[str, int]) -> dict[str, dict[int, _Stat]]:
    found = {int(each.name): _stat(int(each.name)) for each in PROC.iterdir() if each.name.isdigit()}
    children: dict[int, list[int]] = {}
    for pid, stat in found.items():
        if stat is not None:
            children.setdefault(stat.parent, []).append(pid)
    trees: dict[str, dict[int, _Stat]] = {}
    for name, root in roots.items():
        tree: dict[int, _Stat] = {}
        waiting = [root]
        while waiting:
            pid = waiting.pop()
            stat = found.get(pid)
            if stat is not None and pid not in tree:
                tree[pid] = stat
                waiting += children.get(pid, [])
        trees[name] = tree
    return trees


def cpu_seconds(roots: Mapping[str, int]) -> dict[str, float]:
    """User and system seconds of each root's tree so far, its dead and waited-for children included.

    Raises:
        ProcessLookupError: a root is gone, so that a difference would mean nothing.
    """
    found = {}
    for name, tree in _trees(roots).items():
        if not tree:
            raise ProcessLookupError(f"the server process {name} (pid {roots[name]}) is gone")
        found[name] = sum(stat.own + stat.waited for stat in tree.values())
    return found


def memory_mb(roots: Mapping[str, int]) -> dict[str, float]:
    """Pss of each root's tree in MB (2^20 bytes): shared pages are counted once."""
    found = {}
    for name, tree in _trees(roots).items():
        kilobytes = 0
        for pid in tree:
            with contextlib.suppress(OSError):
                for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        kilobytes += int(line.split()[1])
        found[name] = round(kilobytes / 1024, 1)
    return found


def own_seconds() -> float:
    """CPU seconds of this process: the load generator's, which is not a part of the figures."""
    times = os.times()
    return times.user + times.system


def machine_seconds() -> float:
    """Busy CPU seconds of the whole machine since it started; the difference tells what others took."""
    values = [int(value) for value in (PROC / "stat").read_text().splitlines()[0].split()[1:]]
    return (sum(values[:8]) - values[3] - values[4]) / TICKS
