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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ops.bench.load import closed_loop
from ops.bench.running import priced, progress_of, rules_of_the_bench, say, server_processes, warm_load
from ops.stack.errors import StackError
from ops.stack.home import Home

RATE = 200
_TOP = 25
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
                print(f"\n== {name}: {1000 * found['cpu_s'][name] / arguments.n:.3f} ms of CPU per request")
                print(summary(file.read_text(encoding="utf-8").splitlines()))
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


def summary(lines: Iterable[str]) -> str:
    """The functions with the most samples, on top of the stack (`self`) and anywhere in it; lines in py-spy's raw format."""
    own: Counter[str] = Counter()
    anywhere: Counter[str] = Counter()
    total = 0
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        total += int(count)
        own[frames[-1]] += int(count)
        for frame in set(frames):
            anywhere[frame] += int(count)
    if not total:
        return "no samples"
    parts = []
    for title, found in (("self", own), ("with what it calls", anywhere)):
        parts.append(f"-- {title}, of {total} samples")
        parts += [f"{count / total:6.1%}  {frame}" for frame, count in found.most_common(_TOP)]
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
