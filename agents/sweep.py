"""What time does: finds what is due in the windowed table and says so in a `CloseWindow`, `Remind` or `Escalate` command.

The sweep decides nothing. A command that comes early, late or twice meets the deadline in the request's own record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from agents.ports import LocalStore, Output
from agents.system_commands import system_command
from schemas.commands import SYSTEM, CloseWindow, CommandBase, Escalate, Remind
from schemas.deadlines import Due, Kind
from schemas.envelope import derived_id
from tables.record import due_of, due_version_of
from tables.windows import read_entry, window_key, window_value

#: Commands per shard and sweep at most; the rest is at the next.
MAX_DUE = 500
#: Entries looked at per shard and sweep at most (2 to 4 ms): those already sent and not yet closed count too.
MAX_SCANNED = 2000
#: A sweep of a shard ends after so long, having found something: people's commands wait behind it. The rest is at the next.
SWEEP_S = 0.02
#: A command that changed nothing is sent again after this long.
REPEAT_AFTER_S = 20.0
#: The rebuild goes on for at most this long, or this many records, before it lets others work.
SLICE_S = 0.004
SLICE_RECORDS = 2000


class WindowSweep:
    """Finds due windows of one partition. `clock` gives seconds that never run backwards."""

    def __init__(
        self, partition: int, requests: LocalStore, windows: LocalStore, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._partition = partition
        self._requests = requests
        self._windows = windows
        self._clock = clock
        #: Request and what was due -> when its command was sent, oldest first.
        self._sent: dict[tuple[str, int, Kind], float] = {}
        #: Where the last sweep stopped before the end of what is due; the next one goes on there.
        self._resume = b""

    def rebuild(self, most: int = SLICE_RECORDS) -> Iterator[int]:
        """Put every open deadline of the records into the index, beside the deciding: yields the number looked at so far after
        each slice of at most `SLICE_S` seconds or `most` records.

        Each slice reads the table anew, and each deadline once more before it is entered: what a scan shows may be older than
        what has been decided since, and an entry of that is not to be replaced.
        """
        seen, start = 0, b""
        while True:
            until, first = self._clock() + SLICE_S, seen
            for key, value in self._requests.scan(start):
                seen, start = seen + 1, key + b"\x00"
                if due_of(value) is not None:
                    self._index(key)
                if seen - first >= most or (seen % 32 == 0 and self._clock() >= until):
                    break
            else:
                yield seen
                return
            yield seen

    def _index(self, key: bytes) -> None:
        data = self._requests.get(key)
        due = None if data is None else due_of(data)
        if due is None:
            return
        at, kind = due
        index_key = window_key(at, key.decode())
        found = self._windows.get(index_key)
        known = None if found is None else read_entry(index_key, found)[1]
        if known is None or (known.at, known.kind) != due:
            self._windows.put_local(index_key, window_value(Due(at, kind, 0)))

    def due(self, now_ms: int) -> list[Output]:
        """The commands for what is due at `now_ms`, oldest first; at most `MAX_DUE`, out of `MAX_SCANNED` entries, in
        about `SWEEP_S`. The next call goes on where this one stopped, and begins anew once it has seen all that is due.
        """
        now = self._clock()
        while self._sent and now - next(iter(self._sent.values())) >= REPEAT_AFTER_S:
            del self._sent[next(iter(self._sent))]
        found: list[Output] = []
        start, self._resume = self._resume, b""
        for scanned, (key, value) in enumerate(self._windows.scan(start), 1):
            if int.from_bytes(key[:8], "big") * 1000 > now_ms:
                break
            request_id, due = read_entry(key, value)
            mark = (request_id, due.at, due.kind)
            if due.at <= now_ms and mark not in self._sent:
                if self._still_so(request_id, due):
                    self._sent[mark] = now
                    found.append(self._command(request_id, due, now_ms))
                else:
                    self._windows.put_local(key, None)
            full = len(found) >= MAX_DUE or (len(found) > 0 and self._clock() - now >= SWEEP_S)
            if full or scanned >= MAX_SCANNED:
                self._resume = key + b"\x00"
                break
        return found

    def _still_so(self, request_id: str, due: Due) -> bool:
        data = self._requests.get(request_id.encode())
        return data is not None and due_of(data) == (due.at, due.kind)

    def _version(self, request_id: str) -> int:
        """What the record itself says. The entry may be of before a crash: a level that opened again within the same millisecond is
        due at the same time, under another version.
        """
        data = self._requests.get(request_id.encode())
        return 1 if data is None else due_version_of(data) or 1

    def _command(self, request_id: str, due: Due, now_ms: int) -> Output:
        version = self._version(request_id)
        command_id = derived_id(request_id, due.kind, version)
        facts: dict[str, Any] = {
            "command_id": command_id,
            "request_id": request_id,
            "actor_id": SYSTEM,
            "correlation_id": command_id,
        }
        command: CommandBase
        match due.kind:
            case "close":
                command = CloseWindow(**facts, decision_version=version)
            case "remind":
                command = Remind(**facts, opened_version=version)
            case "escalate":
                command = Escalate(**facts, opened_version=version)
        return system_command(command, self._partition, now_ms)
