"""The tables of `docs/scaling.md`, computed from the measured figures and the assumptions in the tables at its top.

    python -m ops.bench.scaling [docs/scaling.md]

Change a figure there, run this, and every derived number follows. A test holds that the page is current.
"""

# ruff: noqa: T201 - a command prints

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from math import ceil
from pathlib import Path

from ops.bench.page import markdown

PAGE = Path("docs/scaling.md")
SIZES = (10_000, 1_000_000, 100_000_000)
BEGIN, END = "<!-- derived -->\n", "<!-- end -->"
_ROW = re.compile(r"^\| `(\w+)` \| ([0-9.,]+) \|", re.M)
_PARTITIONS = (4, 12, 24, 48, 96, 192, 384)

Figures = Mapping[str, float]


def figures(text: str) -> dict[str, float]:
    """Every row of the page that begins with a name and a number: `| `name` | 1,234.5 | …`."""
    return {name: float(value.replace(",", "")) for name, value in _ROW.findall(text)}


def derived(of: Figures) -> str:
    """The tables: load, processors, processes, disk."""
    loads = [Load(size, of) for size in SIZES]
    heads = [f"{size:,} a day" for size in SIZES]
    parts = []
    for title, lines in (
        ("Load in the peak hour", _LOAD),
        ("Cores busy", _CORES),
        ("Processes", _PROCESSES),
        ("Disk", _DISK),
    ):
        rows = [[what, how, *(_shown(getattr(load, name)) for load in loads)] for what, how, name in lines]
        parts += [f"**{title}**", "", markdown(["what", "arithmetic", *heads], rows), ""]
    return "\n".join(parts)


class Load:
    """What so many requests a day ask for; names as in the tables."""

    def __init__(self, requests: int, of: Figures) -> None:
        self.requests_s = requests * of["peak_share"] / 3600
        self.commands_s = self.requests_s * of["commands"]
        self.reads_s = self.commands_s * of["reads"]
        self.gateway = (self.commands_s * of["gateway_ms"] + self.reads_s * of["get_gateway_ms"]) / 1000
        self.worker = self.commands_s * of["worker_ms"] / 1000
        self.kafka = self.commands_s * of["kafka_ms"] / 1000 * of["replicas"]
        self.projector = self.commands_s * of["projector_ms"] / 1000
        self.postgres = (self.commands_s * of["postgres_ms"] + self.reads_s * of["get_postgres_ms"]) / 1000
        self.cores = self.gateway + self.worker + self.kafka + self.projector + self.postgres
        busy = of["busy"]
        self.gateways = max(2, ceil(self.gateway / busy))
        self.workers = max(2, ceil(self.commands_s / (of["worker_rate"] * busy)))
        self.partitions = next(number for number in _PARTITIONS if number >= 2 * self.workers)
        self.projectors = max(1, ceil(self.projector / busy))
        self.broker_cores = ceil(self.kafka / busy)
        self.postgres_cores = ceil(self.postgres / busy)
        gigabytes = requests / 1e9
        written = sum(of[f"{topic}_bytes"] for topic in ("commands", "audit", "outcomes", "notifications", "changelog"))
        rolling = of["commands_bytes"] * 14 + of["notifications_bytes"] * 7 + of["outcomes_bytes"]
        kept = of["audit_bytes"] + of["changelog_bytes"] / of["commands"]
        self.kafka_mb_s = self.requests_s * written / 1e6
        self.outcomes_mb_s = self.requests_s * of["outcomes_bytes"] / 1e6 * self.gateways
        self.kafka_rolling_gb = gigabytes * rolling * of["replicas"]
        self.kafka_year_gb = gigabytes * kept * 365 * of["replicas"]
        self.postgres_day_gb = gigabytes * of["postgres_bytes"]
        self.postgres_year_gb = self.postgres_day_gb * 365
        self.restore_s = requests * 365 * of["restore_s"] / 1e6 / self.workers


Lines = tuple[tuple[str, str, str], ...]
_LOAD: Lines = (
    ("requests/s", "requests × peak_share / 3600", "requests_s"),
    ("commands/s", "× commands", "commands_s"),
    ("reads/s", "commands/s × reads", "reads_s"),
    ("MB/s into Kafka, one copy", "requests/s × sum of the topics' bytes", "kafka_mb_s"),
    ("MB/s of outcomes out of it", "requests/s × outcomes_bytes × gateways: each reads all of them", "outcomes_mb_s"),
)
_CORES: Lines = (
    ("gateways", "commands/s × gateway_ms + reads/s × get_gateway_ms", "gateway"),
    ("workers", "commands/s × worker_ms", "worker"),
    ("brokers", "commands/s × kafka_ms × replicas", "kafka"),
    ("projectors", "commands/s × projector_ms", "projector"),
    ("PostgreSQL", "commands/s × postgres_ms + reads/s × get_postgres_ms", "postgres"),
    ("**all**", "sum", "cores"),
)
_PROCESSES: Lines = (
    ("gateways", "cores / busy, at least 2", "gateways"),
    ("workers", "commands/s / (worker_rate × busy), at least 2", "workers"),
    ("partitions", f"2 × workers, rounded up to one of {', '.join(map(str, _PARTITIONS))}", "partitions"),
    ("projectors", "cores / busy, at least 1", "projectors"),
    ("brokers' cores, at least 3 brokers", "cores / busy", "broker_cores"),
    ("PostgreSQL's cores", "cores / busy", "postgres_cores"),
)
_DISK: Lines = (
    (
        "Kafka, what comes and goes, GB",
        "(commands × 14 d + notifications × 7 d + outcomes × 1 d) × replicas",
        "kafka_rolling_gb",
    ),
    ("Kafka, what stays, GB a year", "(audit + changelog / commands) × 365 × replicas", "kafka_year_gb"),
    ("PostgreSQL, GB a day", "postgres_bytes", "postgres_day_gb"),
    ("PostgreSQL, GB a year", "× 365", "postgres_year_gb"),
    (
        "restoring a year's table from nothing, s for each worker",
        "requests × 365 × restore_s / 1,000,000 / workers",
        "restore_s",
    ),
)


def _shown(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def current(text: str) -> str:
    """The page with its derived tables made anew. Raises ValueError where it has no place for them, KeyError without a figure."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no {BEGIN.strip()} … {END}")
    return before + begin + derived(figures(before)) + end + after


def main() -> int:
    """See the module."""
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    page.write_text(current(page.read_text(encoding="utf-8")), encoding="utf-8")
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
