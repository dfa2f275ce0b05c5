"""What a process's Prometheus endpoint says, as numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping

import httpx

from ops.stack.home import Home

_LINE = re.compile(r"^(\w+)(\{[^}]*\})? (\S+)", re.M)
TIME_OUT = 5.0


async def scrape(home: Home, process: str) -> dict[str, float]:
    """Each metric's sum over its labels, histograms' buckets left out."""
    async with httpx.AsyncClient(timeout=TIME_OUT) as client:
        return read((await client.get(home.metrics(process))).text)


def read(text: str) -> dict[str, float]:
    """As `scrape`, from the endpoint's text."""
    found: dict[str, float] = {}
    for name, _, value in _LINE.findall(text):
        if not name.endswith("_bucket"):
            found[name] = found.get(name, 0.0) + float(value)
    return found


def mean_between(before: Mapping[str, float], after: Mapping[str, float], histogram: str) -> float | None:
    """The mean of what a histogram saw between two readings; None of nothing."""
    count = after.get(f"{histogram}_count", 0.0) - before.get(f"{histogram}_count", 0.0)
    total = after.get(f"{histogram}_sum", 0.0) - before.get(f"{histogram}_sum", 0.0)
    return total / count if count else None
