"""`make bench-check`: what a completed request costs in CPU, over what it costs the reference on the same machine, in one run.

    python -m ops.bench.check [--home DIR] [--rounds 5] [--n 300]

No time is tested: both sides do the same workload in short rounds by turns, and the median of the ratios of their CPU counts.
A slower machine makes both dearer. One that is busy with something else makes the product dearer than the reference, since it has
more processes to switch between: such rounds do not count, and are made again. `limits.json` has the ratio that is expected, and by
how much it may be worse. Exit code 0 within it, 1 beyond it, 2 the machine was too busy to say, 3 no stack.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx

from ops.bench.figures import median
from ops.bench.load import ReadSide, Work, closed_loop
from ops.bench.reference.app import SCHEMA
from ops.bench.reference.load import ReferenceLoad
from ops.bench.reference.serving import serving
from ops.bench.running import bench_stack, priced, progress_of, say, server_processes, warm_load
from ops.postgres.clients import connect
from ops.stack.errors import StackError
from ops.stack.home import Home

LIMITS = Path(__file__).with_name("limits.json")
OK, WORSE, UNDECIDED, UNREACHABLE = 0, 1, 2, 3
LANES = 32
ROUNDS, REQUESTS = 5, 300
#: A round counts beside which others took at most this share of the machine; so many times as many are made at most.
QUIET, TRIES = 0.1, 3


@dataclass(frozen=True, slots=True)
class Limits:
    """`ratio`: the product's CPU per request over the reference's; `margin`: the share by which it may be above."""

    ratio: float
    margin: float

    @property
    def most(self) -> float:
        return self.ratio * (1 + self.margin)

    @classmethod
    def read(cls, file: Path = LIMITS) -> Limits:
        """From the committed file. Raises KeyError, ValueError for another shape."""
        found = json.loads(file.read_text(encoding="utf-8"))
        return cls(float(found["ratio"]), float(found["margin"]))


def verdict(product: Sequence[float], reference: Sequence[float], limits: Limits) -> tuple[bool, str]:
    """Whether it is within the limits, and the sentence that says so. CPU ms per request of each round."""
    mine, theirs = median(product), median(reference)
    ratio = median([one / other for one, other in zip(product, reference, strict=True)])
    figures = (
        f"a completed request costs {mine:.2f} ms of CPU, the reference's {theirs:.2f} ms: {ratio:.2f} times as much "
        f"(medians of {len(product)} rounds and of their ratios; {_spread(product)} and {_spread(reference)} ms)"
    )
    if ratio > limits.most:
        return False, (
            f"WORSE: {figures}. At most {limits.most:.2f} is allowed ({limits.ratio:.2f} and {limits.margin:.0%}, {LIMITS.name}). "
            "Find out which process it is: python -m ops.bench.profile"
        )
    if ratio < limits.ratio * (1 - limits.margin):
        return True, f"ok, and better than {LIMITS.name} knows: {figures}. Put {ratio:.2f} there, so that it stays so."
    return True, f"ok: {figures}. At most {limits.most:.2f} is allowed."


def _spread(values: Sequence[float]) -> str:
    return f"{min(values):.2f}–{max(values):.2f}"


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.check", description="Is a request dearer than it was?")
    parser.add_argument("--home", metavar="DIR", help="a running stack without rate limits; otherwise one of its own")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--n", type=int, default=REQUESTS, help="requests of a round")
    arguments = parser.parse_args()
    try:
        with (
            bench_stack(arguments.home) as home,
            _reference_database(home) as dsn,
            serving("ops.bench.reference.app:app", BENCH_REFERENCE_DSN=dsn) as (base, pid),
        ):
            product, reference = asyncio.run(_rounds(home, base, pid, arguments.rounds, arguments.n))
    except (StackError, httpx.HTTPError, ProcessLookupError) as error:
        say(str(error))
        return UNREACHABLE
    if len(product) < arguments.rounds:
        print(  # noqa: T201
            f"bench-check: UNDECIDED: others took more than {QUIET:.0%} of the machine beside all but {len(product)} of "
            f"{TRIES * arguments.rounds} rounds. Repeat it when the machine is quiet."
        )
        return UNDECIDED
    fine, sentence = verdict(product, reference, Limits.read())
    print(f"bench-check: {sentence}")  # noqa: T201 - what the command is for
    return OK if fine else WORSE


@contextmanager
def _reference_database(home: Home) -> Iterator[str]:
    """A database of the reference's own on the stack's server; its URL."""
    url = str(home.endpoints()["postgres"])
    name = f"bench_{uuid.uuid4().hex[:8]}"
    theirs = urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    asyncio.run(_execute(url, f"CREATE DATABASE {name}"))
    try:
        asyncio.run(_execute(theirs, SCHEMA))
        yield theirs
    finally:
        asyncio.run(_execute(url, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(url: str, statement: str) -> None:
    connection: asyncpg.Connection = await connect(url, timeout=30)
    try:
        await connection.execute(statement, timeout=60)
    finally:
        await connection.close()


async def _rounds(home: Home, base: str, pid: int, rounds: int, count: int) -> tuple[list[float], list[float]]:
    """CPU ms per request of both in each round that counts: `rounds` of them, or fewer on a busy machine."""
    servers = server_processes(home)
    reference, product_costs, reference_costs = ReferenceLoad(base), list[float](), list[float]()
    await reference.open()
    try:
        async with warm_load(home, LANES) as load:
            await closed_loop(reference, reference.whole, 0, count, LANES, progress_of("warm-up of the reference"))
            for number in range(1, TRIES * rounds + 1):
                mine = await _cost(load, load.whole, number * 1_000_000, count, servers)
                theirs = await _cost(
                    reference, reference.whole, number * 1_000_000, count, {"app": pid, "postgres": servers["postgres"]}
                )
                counts = max(mine.others, theirs.others) <= QUIET
                say(
                    f"round {number}: product {mine.ms:.2f}, reference {theirs.ms:.2f} ms of CPU per request"
                    + ("" if counts else f"; does not count: others took {max(mine.others, theirs.others):.0%}")
                )
                if counts:
                    product_costs.append(mine.ms)
                    reference_costs.append(theirs.ms)
                if len(product_costs) == rounds:
                    break
    finally:
        await reference.close()
    return product_costs, reference_costs


@dataclass(frozen=True, slots=True)
class _Cost:
    """CPU ms per request, and the share of the machine that others took."""

    ms: float
    others: float


async def _cost(on: ReadSide, work: Work, first: int, count: int, roots: Mapping[str, int]) -> _Cost:
    found: dict[str, Any] = await priced(closed_loop(on, work, first, count, LANES, progress_of("round")), roots)
    if found["errors"]:
        raise StackError(f"a round had {found['errors']} errors, the first: {found['first_error']}")
    return _Cost(1000 * float(sum(found["cpu_s"].values())) / count, float(found["other_share"]))


if __name__ == "__main__":
    sys.exit(main())
