"""Many seeds on several processes; memory stays that of one world each, whatever their number."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ops.simulation.run import Report, SeedFailed, run_seeds

#: Seeds that a process is given at a time: short enough for a smooth progress, long enough to cost nothing.
CHUNK = 10
Tell = Callable[[str], None]
#: Seconds between two lines of progress.
_TELL_EVERY = 5.0


@dataclass(frozen=True, slots=True)
class Failure:
    """A seed that failed in another process."""

    seed: int
    told: str


def run_many(seeds: range, steps: int, jobs: int, tell: Tell) -> tuple[Report, list[Failure]]:
    """Run all seeds; those that fail are listed, the others counted."""
    report, failures = Report(), []
    started = told = time.monotonic()
    for chunk, failed in _chunks(seeds, steps, jobs):
        report.merge(chunk)
        for one in failed:
            failures.append(one)
            tell(one.told)
        now = time.monotonic()
        done = report.seeds + len(failures)
        if now - told > _TELL_EVERY or done == len(seeds):
            told = now
            rate = done / (now - started)
            left = round((len(seeds) - done) / rate)
            tell(f"{done} of {len(seeds)} seeds, {rate:.1f} seeds/s, {len(failures)} failed, about {left} s left")
    return report, failures


def _chunks(seeds: range, steps: int, jobs: int) -> Iterator[tuple[Report, list[Failure]]]:
    work = [(seeds[start : start + CHUNK], steps) for start in range(0, len(seeds), CHUNK)]
    if jobs == 1:
        yield from map(_run, work)
        return
    # A process is replaced after a while: whatever a library keeps for good stays bounded.
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=50) as pool:
        yield from pool.imap_unordered(_run, work)


def _run(work: tuple[range, int]) -> tuple[Report, list[Failure]]:
    seeds, steps = work
    report, failures = Report(), []
    for seed in seeds:
        try:
            report.merge(run_seeds((seed,), steps))
        except SeedFailed as failed:
            failures.append(Failure(seed, str(failed)))
    return report, failures
