"""Where a process's CPU goes under the standard load: py-spy's samples of a running stack, summed up by function.

    python -m ops.bench.profile --home DIR [--n 2000] [--c 32] [--processes worker,gateway] [--seconds 12]

py-spy is one of the development packages. It must be allowed to look into other processes (root, or `kernel.yama.ptrace_scope`).
"""

# ruff: noqa: T201 - a program that prints its findings

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ops.bench.load import closed_loop
from ops.bench.running import priced, progress_of, rules_of_the_bench, say, server_processes, warm_load
from ops.stack.errors import StackError
from ops.stack.home import Home

RATE = 200
_TOP = 25
#: Where threads stand that have nothing to do; uvloop's polls are seen as the function that runs the loop.
_WAITS = (
    "_worker (concurrent/futures/",
    "ServiceThread._start_thread (",
    "Worker.execute_from_commandline (",
    "Runner.run (asyncio/",
    "_PollLikeSelector.select (",
    "EpollSelector.select (",
    "Condition.wait (threading",
    "serve_forever (socketserver",
)
_WRITES = ("StreamWriter.write (asyncio/", "Counted.write (gateway/server/", "_SelectorSocketTransport.write (")
_QUIET = subprocess.DEVNULL


def main() -> int:
    """Exit code 0 profiled, 1 py-spy did not do it, 3 no stack."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.profile", description="Where the CPU goes under load.")
    parser.add_argument("--home", default=os.environ.get("ATHENA_HOME"), help="a running stack without rate limits")
    parser.add_argument("--n", type=int, default=2000, help="requests")
    parser.add_argument("--c", type=int, default=32, help="people at once")
    parser.add_argument("--processes", default="worker,gateway,projector", help="names in endpoints.json")
    parser.add_argument("--seconds", type=int, default=12, help="of sampling, from the start of the load on")
    arguments = parser.parse_args()
    home = Home(arguments.home)
    try:
        with tempfile.TemporaryDirectory() as folder, rules_of_the_bench(home):
            found, files = asyncio.run(_profiled(home, arguments, Path(folder)))
            for name, file in files.items():
                cpu_ms = 1000 * found["cpu_s"][name] / arguments.n
                print(f"\n== {name}: {cpu_ms:.3f} ms of CPU per request")
                print(summary(file.read_text(encoding="utf-8").splitlines(), cpu_ms))
    except StackError as error:
        say(str(error))
        return 3
    except (OSError, TimeoutError) as error:
        say(f"py-spy did not do it: {error}")
        return 1
    print(
        f"\n{found['completed_per_cpu_s']} requests per CPU-second, p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms"
    )
    return 0


async def _profiled(home: Home, arguments: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    roots = server_processes(home)
    files = {name: folder / f"{name}.raw" for name in arguments.processes.split(",")}
    async with warm_load(home, arguments.c) as load:
        spies = [
            await asyncio.create_subprocess_exec(
                *_spy(roots[name], file, arguments.seconds), stdout=_QUIET, stderr=_QUIET
            )
            for name, file in files.items()
        ]
        first = int(time.time()) % 1_000_000 * 1_000
        loop = closed_loop(load, load.whole, first, arguments.n, arguments.c, progress_of("profiling"))
        found = await priced(loop, roots)
        for spy in spies:
            await asyncio.wait_for(spy.wait(), arguments.seconds + 30)
    return found, files


def _spy(pid: int, file: Path, seconds: int) -> list[str]:
    program = Path(sys.executable).with_name("py-spy")
    return [str(program), "record", "-d", str(seconds), "-r", str(RATE), "-f", "raw", "-o", str(file), "-p", str(pid)]


def summary(lines: Iterable[str], cpu_ms: float) -> str:
    """Where `cpu_ms` went: by part of the code, and by function; lines in py-spy's raw format (`frame;frame;… count`).

    py-spy cannot tell everywhere whether a thread runs. So threads that stand where threads wait are left out, the polls of event
    loops among them, and what a poll itself costs is shared out among the rest.
    """
    parts: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if not _waits(frames[-1]):
            parts[part_of(frames)] += int(count)
            functions[frames[-1]] += int(count)
    total = parts.total()
    if not total:
        return "no samples"
    found = []
    for title, counted in (("by part of the code", parts), ("by function", functions)):
        found.append(f"-- {title}, of {total} samples")
        found += [
            f"{cpu_ms * count / total:7.3f} ms {count / total:6.1%}  {name}"
            for name, count in counted.most_common(_TOP)
        ]
    return "\n".join(found)


def part_of(frames: Sequence[str]) -> str:
    """The part that a sample counts for: writes to sockets; else the package and module or folder nearest to the top of the stack
    that is not Python's own."""
    if any(frames[-1].startswith(name) for name in _WRITES):
        return "writes to sockets"
    for frame in reversed(frames):
        path = frame.rpartition("(")[2].partition(":")[0]
        names = path.split("/")
        if path and not path.startswith("<") and names[0].removesuffix(".py") not in sys.stdlib_module_names:
            return "/".join(names[:2])
    return "Python itself"


def _waits(frame: str) -> bool:
    return any(frame.startswith(name) for name in _WAITS)


if __name__ == "__main__":
    sys.exit(main())
