"""What of a stack runs now."""

from __future__ import annotations

import time
from typing import Any

import psutil

from ops.stack.home import Home, process_name
from ops.stack.probes import status_of
from ops.stack.processes import Process
from ops.stack.state import State

EXPECTED = ("kafka", "postgres", "gateway", "worker", "projector")


def look(home: Home) -> dict[str, Any]:
    """`{"home", "state", "ready", "gateway", "processes": {name: {"up", "pid", "rss_mb", "up_s", "restarts"}},
    "certificates"}`; the last is the `name` and `days_left` of the certificate that ends first, None with plain lines."""
    state = State.read(home) or State(state="stopped")
    gateway = home.gateway if "gateway" in home.choices().get("ports", {}) else None
    # A worker between two lives is in no list of children, and is missed all the same.
    workers = [process_name("worker", index) for index in range(1, int(home.choices().get("workers", 1)))]
    expected = (*EXPECTED, *workers)
    names = [*expected, *(name for name in state.children if name not in expected)]
    processes = {name: _describe(state.children.get(name), state.restarts.get(name, 0)) for name in names}
    supervised = state.supervisor is not None and state.supervisor.alive()
    processes["supervisor"] = _describe(state.supervisor if supervised else None, 0)
    ready = (
        gateway is not None and processes["gateway"]["up"] and status_of(f"{gateway}/readyz", 5.0, home.trust) == 200
    )
    return {
        "home": str(home.path),
        "state": state.state if supervised else "stopped",
        "ready": ready,
        "gateway": gateway,
        "processes": processes,
        "certificates": home.certificates.ends_soonest() if home.tls else None,
    }


def _describe(process: Process | None, restarts: int) -> dict[str, Any]:
    if process is not None and process.alive():
        try:
            rss = psutil.Process(process.pid).memory_info().rss
        except psutil.Error:
            rss = 0
        return {
            "up": True,
            "pid": process.pid,
            "rss_mb": round(rss / 2**20),
            "up_s": round(time.time() - process.created),
            "restarts": restarts,
        }
    return {"up": False, "pid": None, "rss_mb": 0, "up_s": 0, "restarts": restarts}
