"""A client of `/events`: reads them on a thread of its own, as a browser's EventSource would."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from tests.client import API, Api
from tests.stack import wait_until


@dataclass(frozen=True)
class Event:
    """`at`: when it was read, by `time.monotonic`; `last_id`: the id that the client has after it."""

    kind: str
    data: Any
    last_id: str
    at: float


class Events:
    """Use as a context. `last_id` is what a next client brings; `comments` counts heartbeats; `ended` when the answer is over."""

    def __init__(self, api: Api, who: str, last_id: str | None = None, token: str | None = None) -> None:
        self._client = httpx.Client(base_url=api.base, timeout=httpx.Timeout(10, read=40))
        self._headers = {"Authorization": f"Bearer {token or api.token(who)}"}
        if last_id is not None:
            self._headers["Last-Event-ID"] = last_id
        self.events: list[Event] = []
        self.last_id = last_id or ""
        self.comments = 0
        self.retry: int | None = None
        self.ended = threading.Event()
        self.failed: Exception | None = None

    def __enter__(self) -> Events:
        request = self._client.build_request("GET", f"{API}/events", headers=self._headers)
        self.answer = self._client.send(request, stream=True)
        if self.answer.status_code != 200:
            self.answer.read()
            raise AssertionError(f"{self.answer.status_code} {self.answer.text}")
        assert self.answer.headers["content-type"] == "text/event-stream"
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        wait_until(lambda: bool(self.last_id) and (self.comments > 0 or bool(self.events)), 10, "nothing came")
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone would not wake the reader.
        with contextlib.suppress(OSError):
            self.answer.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._client.close()

    def wait(
        self, holds: Callable[[list[Event]], bool], seconds: float = 10, what: str = "the event did not come"
    ) -> None:
        wait_until(lambda: holds(self.events), seconds, what)

    def versions(self, request: dict[str, Any]) -> list[int]:
        """The versions of a request that came, in order."""
        return [e.data["version"] for e in self.events if e.kind == "request" and e.data["id"] == request["id"]]

    def gone(self, request: dict[str, Any]) -> list[str]:
        """Why it was gone, each time."""
        return [e.data["why"] for e in self.events if e.kind == "gone" and e.data["id"] == request["id"]]

    def _read(self) -> None:
        """The standard's parser (HTML, 9.2.6), as far as it is needed here."""
        kind, data = "", ""
        try:
            for line in self.answer.iter_lines():
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if not line:
                    if data:
                        self.events.append(Event(kind, json.loads(data), self.last_id, time.monotonic()))
                    kind, data = "", ""
                elif name == "":
                    self.comments += 1
                elif name == "id":
                    self.last_id = value
                elif name == "event":
                    kind = value
                elif name == "data":
                    data += value
                elif name == "retry":
                    self.retry = int(value)
        except (httpx.HTTPError, RuntimeError, OSError) as error:
            self.failed = error
        finally:
            self.ended.set()
