"""`simulate --seed N --steps M`, `simulate --seeds 0..9999 --jobs 2`, `simulate --replay FILE`."""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.options import WRONG, JsonOption

if TYPE_CHECKING:
    from ops.simulation.run import Report, StoryFailed


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(simulate)


def simulate(
    seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each run before faults stop.")] = 120,
    seeds: Annotated[str, typer.Option(help="How many seeds from --seed on, or FIRST..LAST.")] = "1",
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Processes that run seeds.")] = 1,
    trace: Annotated[
        bool, typer.Option("--trace", help="Print what was done, for one seed or story that holds.")
    ] = False,
    shrink: Annotated[bool, typer.Option("--shrink", help="Make the story of a failing seed short.")] = False,
    shrink_seconds: Annotated[float, typer.Option(min=1, help="Longest time for that.")] = 120.0,
    keep: Annotated[Path | None, typer.Option(help="Folder for the story of a failing seed: tests/seeds.")] = None,
    replay: Annotated[Path | None, typer.Option(help="Run a kept story instead of seeds.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the product in memory with faults: workers, projectors, gateways. The same seed is the same run.

    Exit 1 if a seed breaks a promise, with the command that repeats it. Progress goes to stderr.
    """
    from ops.simulation.kept import replay as replay_file  # noqa: PLC0415
    from ops.simulation.parallel import run_many  # noqa: PLC0415
    from ops.simulation.run import SeedFailed, StoryFailed, run_seed  # noqa: PLC0415

    chosen = _range(seed, seeds)
    try:
        if replay is not None or trace:
            world = run_seed(seed, steps) if replay is None else replay_file(replay)
            print("\n".join(world.trace) if trace else f"{replay} holds")
            return
        if len(chosen) == 1:
            world = run_seed(chosen[0], steps)
    except StoryFailed as failed:
        print(failed)
        raise typer.Exit(WRONG) from None
    except SeedFailed as failed:
        print(failed)
        _shorten(failed.failed, failed.seed, steps, shrink, shrink_seconds, keep)
        raise typer.Exit(WRONG) from None
    started = time.perf_counter()
    report, failures = run_many(chosen, steps, jobs, _tell)
    _print(report, [one.seed for one in failures], time.perf_counter() - started, as_json)
    if failures and (shrink or keep):
        _shorten_seed(failures[0].seed, steps, shrink, shrink_seconds, keep)
    if failures:
        raise typer.Exit(WRONG)


def _range(first: int, seeds: str) -> range:
    match = re.fullmatch(r"(?:(\d+)\.\.)?(\d+)", seeds)
    if match is None:
        raise typer.BadParameter("expected a number, as 500, or a range, as 0..9999", param_hint="--seeds")
    start, last = match.groups()
    found = range(first, first + int(last)) if start is None else range(int(start), int(last) + 1)
    if not found:
        raise typer.BadParameter("there is no seed in it", param_hint="--seeds")
    return found


def _shorten_seed(seed: int, steps: int, shrink: bool, seconds: float, keep: Path | None) -> None:
    from ops.simulation.run import SeedFailed, run_seed  # noqa: PLC0415

    try:
        run_seed(seed, steps)
    except SeedFailed as failed:
        _shorten(failed.failed, seed, steps, shrink, seconds, keep)


def _shorten(failed: StoryFailed, seed: int, steps: int, shrink: bool, seconds: float, keep: Path | None) -> None:
    from ops.simulation.kept import keep as keep_story  # noqa: PLC0415
    from ops.simulation.shrink import shrink as shorten  # noqa: PLC0415

    if shrink:
        failed = shorten(failed, seconds, _tell)
        print(f"a short story of it ({len(failed.story.actions)} actions):\n  " + "\n  ".join(failed.trace))
        print(f"{failed.broken}"[:2000])
    if keep is not None:
        print(f"kept: {keep_story(failed, keep, seed, steps)}")


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print(report: Report, failed: list[int], took: float, as_json: bool) -> None:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    facts: dict[str, Any] = {
        **report.facts(),
        "failed": failed,
        "seconds": round(took, 1),
        "seeds_per_minute": round(report.seeds / took * 60, 1),
        "commands_per_minute": round(report.commands / took * 60),
        "fault_count": sum(report.faults.values()),
        "faults_per_minute": round(sum(report.faults.values()) / took * 60),
        "cpu_seconds": round(sum(one.ru_utime + one.ru_stime for one in used), 1),
        "largest_process_mib": round(max(one.ru_maxrss for one in used) / 1024),
    }
    if as_json:
        print(json.dumps(facts))
        return
    print(f"{report.seeds} seeds of {report.steps} steps held in {took:.1f} s, {len(failed)} failed:")
    print(f"{report.commands} commands, {report.events} events, {report.refusals} refusals,")
    print(f"{facts['fault_count']} faults ({facts['faults_per_minute']} a minute):")
    for name, count in report.faults.most_common():
        print(f"{count:9} x {name}")
