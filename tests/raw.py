"""HTTP as bytes on a socket: what no well-behaved client would send, and exactly what comes back."""

from __future__ import annotations

import json
import re
import socket
import time
from dataclasses import dataclass, field
from typing import Any

#: A busy machine may take this long for what takes milliseconds.
PATIENCE = 20.0
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


@dataclass
class Answer:
    """One answer; header names in lower case, each with all its values."""

    status: int
    headers: dict[str, list[str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The header's one value, None without it."""
        values = self.headers.get(name, [])
        assert len(values) <= 1, f"{name} comes {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Line:
    """One connection, from an address of this machine (127.0.0.0/8), with a small window when asked for."""

    port: int
    source: str = "127.0.0.1"
    window: int | None = None
    _buffer: bytes = field(default=b"", init=False)

    def __post_init__(self) -> None:
        self.socket = socket.socket()
        if self.window is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.window)
        self.socket.bind((self.source, 0))
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", self.port))

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """False when the other side has ended the connection."""
        try:
            self.socket.sendall(data)
        except (ConnectionError, TimeoutError):
            return False
        return True

    def answer(self, *, to_head: bool = False) -> Answer | None:
        """The next answer, None when the connection ends without one; `to_head`: that to a HEAD has no body."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._read():
                assert not self._buffer, f"half an answer: {self._buffer!r}"
                return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        match = _LENGTH.search(head + b"\r\n")
        length = int(match[1]) if match and not to_head else 0
        while len(self._buffer) < length:
            assert self._read(), "an answer without its end"
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        first, *lines = head.decode("latin-1").split("\r\n")
        headers: dict[str, list[str]] = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers.setdefault(name.strip().lower(), []).append(value.strip())
        return Answer(int(first.split()[1]), headers, body)

    def answers(self) -> list[Answer]:
        """All answers until the connection ends."""
        found = []
        while (answer := self.answer()) is not None:
            found.append(answer)
        return found

    def seconds_until_end(self) -> float:
        """How long the other side keeps the connection open; what it says meanwhile is lost."""
        began = time.monotonic()
        while self._read():
            self._buffer = b""
        return time.monotonic() - began

    def _read(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            return False
        self._buffer += data
        return bool(data)


def head(method: str, path: str, **headers: str) -> bytes:
    """The head of a proper request; `_` in names is `-`."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()
