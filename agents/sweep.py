"""Closes rollback windows: finds what is due in the windowed table and says so in a `CloseWindow` command.

The sweep decides nothing. A command that comes early, late or twice meets the deadline in the request's own record.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import orjson

from agents.ports import Output
from agents.rocks import RocksStore
from schemas import topics
from schemas.base import rfc3339
from schemas.commands import SYSTEM, CloseWindow
from schemas.envelope import derived_id, headers
from tables.record import Record, closes_at_of
from tables.windows import read_entry, window_key, window_value

#: Windows closed per shard and sweep at most; the rest is a second later.
MAX_DUE = 500
#: A `CloseWindow` that changed nothing is sent again after this long.
REPEAT_AFTER_S = 20.0


class WindowSweep:
    """Finds due windows of one partition."""

    def __init__(self, partition: int, requests: RocksStore, windows: RocksStore) -> None:
        self._partition = partition
        self._requests = requests
        self._windows = windows
        self._sent: dict[str, float] = {}

    def rebuild(self) -> Iterator[int]:
        """Put every open deadline of the records into the index; yields the number looked at, every 2,000 records."""
        seen = 0
        for key, value in self._requests.scan():
            due = closes_at_of(value)
            if due is not None:
                request_id = key.decode()
                index_key = window_key(due, request_id)
                found = self._windows.get(index_key)
                if found is None or read_entry(index_key, found)[1] != due:
                    self._windows.put_local(index_key, window_value(due, 0))
            seen += 1
            if seen % 2000 == 0:
                yield seen
        yield seen

    def due(self, now_ms: int) -> list[Output]:
        """`CloseWindow` commands for what is due at `now_ms`, oldest first."""
        now = time.monotonic()
        self._sent = {id_: at for id_, at in self._sent.items() if now - at < REPEAT_AFTER_S}
        found: list[Output] = []
        for key, value in self._windows.scan():
            if int.from_bytes(key[:8], "big") * 1000 > now_ms or len(found) >= MAX_DUE:
                break
            request_id, deadline, version = read_entry(key, value)
            if deadline > now_ms or request_id in self._sent:
                continue
            if not self._still_open(request_id, deadline):
                self._windows.put_local(key, None)
                continue
            self._sent[request_id] = now
            found.append(self._command(request_id, version or self._decision_version(request_id), now_ms))
        return found

    def _still_open(self, request_id: str, deadline: int) -> bool:
        data = self._requests.get(request_id.encode())
        return data is not None and closes_at_of(data) == deadline

    def _decision_version(self, request_id: str) -> int:
        data = self._requests.get(request_id.encode())
        newest = None if data is None else Record.decode(data).state
        decision = None if newest is None else newest.newest_decision
        return 1 if decision is None else decision[1].version

    def _command(self, request_id: str, version: int, now_ms: int) -> Output:
        command_id = derived_id(request_id, "close", version)
        command = CloseWindow(
            command_id=command_id,
            request_id=request_id,
            actor_id=SYSTEM,
            correlation_id=command_id,
            decision_version=version,
        )
        found = headers(
            id_=command_id,
            type_="athena.command.CloseWindow",
            source="athena/worker",
            time=rfc3339(now_ms),
            subject=request_id,
            correlation_id=command_id,
        )
        return Output(topics.COMMANDS, request_id.encode(), orjson.dumps(command.model_dump()), found, self._partition)
