"""A real HTTP server on loopback that answers by path what a test wants: well, badly, slowly, or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """An answer; `pieces` are sent one by one, each after `pause` seconds."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    pieces: int = 1
    pause: float = 0.0


#: None: hang up without an answer.
Script = Callable[[Asked], Reply | None]


def plain(value: Any, status: int = 200, **headers: str) -> Script:
    """Always this value as JSON."""
    return lambda _asked: Reply(json.dumps(value).encode(), status, {"content-type": "application/json", **headers})


class ScriptedServer:
    """Paths without a script answer 404, unless a subclass does better. `asked` is what came, oldest first."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.asked: list[Asked] = []
        self._server = _Server(("127.0.0.1", 0), self)
        self.port = self._server.server_port
        self.url = f"http://localhost:{self.port}"
        self._thread = self._serve()

    def stop(self) -> None:
        """Close the port: whoever connects is refused."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def start_again(self) -> None:
        """Open the same port again."""
        self._server = _Server(("127.0.0.1", self.port), self)
        self._thread = self._serve()

    @contextmanager
    def scripted(self, path: str, script: Script) -> Iterator[None]:
        """The path answers so meanwhile."""
        before = self.scripts.get(path)
        self.scripts[path] = script
        try:
            yield
        finally:
            del self.scripts[path]
            if before is not None:
                self.scripts[path] = before

    def count(self, path: str) -> int:
        """How often the path was asked."""
        return sum(asked.path == path for asked in self.asked)

    def answer(self, asked: Asked) -> Reply | None:
        script = self.scripts.get(asked.path)
        return Reply(b"{}", 404) if script is None else script(asked)

    def _serve(self) -> threading.Thread:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        return thread


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], owner: ScriptedServer) -> None:
        self.owner = owner
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, path, query, headers, body)
        self.server.owner.asked.append(asked)
        reply = self.server.owner.answer(asked)
        self.close_connection = True
        if reply is None:
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(reply.body)))
        self.end_headers()
        size = -(-len(reply.body) // reply.pieces)
        for piece in range(reply.pieces):
            time.sleep(reply.pause)
            self.wfile.write(reply.body[piece * size : (piece + 1) * size])

    do_POST = do_GET  # noqa: N815 - the base class calls it so

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Quiet."""
