"""What an experiment found: figures as tables and plots, ready for JSON and for a page."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Cell = str | int | float | None
Points = list[tuple[float, float]]


@dataclass(slots=True)
class Table:
    """`note` stands below it."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""


@dataclass(slots=True)
class Plot:
    """Lines over one x; `name` is its file's, without the suffix. `log_x`: equal steps are factors."""

    name: str
    title: str
    x: str
    y: str
    series: dict[str, Points]
    log_x: bool = False


@dataclass(slots=True)
class Target:
    """A figure beside what was wanted; `figure` None: not measured."""

    what: str
    figure: float | None
    target: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.figure is not None and (self.figure >= self.target if self.at_least else self.figure <= self.target)


@dataclass(slots=True)
class Result:
    """Of one experiment. `notes` are sentences about what was seen, problems first."""

    tables: list[Table] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def document(self, name: str, form: str, seconds: float) -> dict[str, Any]:
        """As JSON, with what it was measured on."""
        return {
            "experiment": name,
            "form": form,
            "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "commit": commit(),
            "machine": machine(),
            "seconds": round(seconds, 1),
            "tables": [asdict(one) for one in self.tables],
            "plots": [asdict(one) for one in self.plots],
            "targets": [asdict(one) | {"met": one.met} for one in self.targets],
            "notes": self.notes,
        }


def machine() -> dict[str, Any]:
    """Where it ran."""
    return {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}


def commit() -> str | None:
    """The checkout's commit, `+` behind it where files differ; None where this is no checkout."""
    folder = Path(__file__).parents[2]

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], check=True, capture_output=True, text=True, cwd=folder, timeout=30)
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None
