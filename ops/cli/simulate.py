"""`simulate --seed N --steps M --seeds K`."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from ops.cli.options import WRONG, JsonOption


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(simulate)


def simulate(
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each run before faults stop.")] = 120,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds to run, one after the other.")] = 1,
    trace: Annotated[bool, typer.Option("--trace", help="Print what was done, for a single seed that holds.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the deciding code against an in-memory log with faults; the same seed is the same run.

    Exit 1 at the first seed that breaks a promise, with the command that repeats it.
    """
    from ops.simulation.run import SeedFailed, run_seed, run_seeds  # noqa: PLC0415

    started = time.perf_counter()
    try:
        if trace:
            print("\n".join(run_seed(seed, steps).trace))
            return
        report = run_seeds(range(seed, seed + seeds), steps)
    except SeedFailed as failed:
        print(failed)
        raise typer.Exit(WRONG) from None
    took = time.perf_counter() - started
    if as_json:
        print(json.dumps({**report.facts(), "seconds": round(took, 2)}))
        return
    print(f"{report.seeds} seeds held in {took:.1f} s: {report.commands} commands, {report.events} events,")
    print(
        f"{report.refusals} refusals; " + ", ".join(f"{count} x {name}" for name, count in report.faults.most_common())
    )
