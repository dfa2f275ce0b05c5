"""The Faust entry points: what `athena worker` and `athena projector` run, one process each."""

from __future__ import annotations

import mode.loop

mode.loop.use("uvloop")

from agents.projector.app import run as run_projector  # noqa: E402 - after the event loop is chosen
from agents.worker import run as run_worker  # noqa: E402

__all__ = ["run_projector", "run_worker"]
