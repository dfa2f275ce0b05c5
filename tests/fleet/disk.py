"""What a phone keeps: JSON that outlives the app, written all or nothing."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(slots=True)
class Side:
    """One of the two lists of an app, and how far it has followed it. `rows` by id."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    cursor: str | None = None
    server_time: str | None = None


@dataclass(slots=True)
class Kept:
    """Everything that an app must know when it is started again. `outbox` are items as they will be sent, in order."""

    client_id: str
    outbox: list[dict[str, Any]] = field(default_factory=list)
    requests: Side = field(default_factory=Side)
    approvals: Side = field(default_factory=Side)

    def side(self, what: str) -> Side:
        """`requests` or `approvals`."""
        return self.requests if what == "requests" else self.approvals


class Disk:
    """One phone's. `writes` counts."""

    def __init__(self, number: int) -> None:
        self._bytes = b""
        self.writes = 0
        self.write(Kept(f"phone-{number}-{uuid.uuid4()}"))

    def write(self, kept: Kept) -> None:
        """In the place of what was there."""
        self._bytes = orjson.dumps(kept)
        self.writes += 1

    def read(self) -> Kept:
        """As it was written last."""
        found = orjson.loads(self._bytes)
        return Kept(found["client_id"], found["outbox"], Side(**found["requests"]), Side(**found["approvals"]))
