"""One client of `/events`: what it is still to be sent, within bounds, and how it is sent."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from starlette.types import Receive, Send

from gateway import metrics
from gateway.feed.bookmarks import Vector, later
from gateway.feed.viewer import Viewer
from gateway.server.line import abort, is_closing, narrow

#: What may wait for a client beside what its connection holds (64 KiB, and what the kernel does): events, and their bytes.
MAX_EVENTS = 1000
MAX_BYTES = 512 * 1024
KERNEL_BYTES = 64 * 1024
#: A client that hears nothing hears so much at least, after so many seconds. Proxies end what is silent for 30 s or more.
HEARTBEAT = (15.0, 25.0)
#: After how many milliseconds a client should come again, so that not all come at once.
RETRY_MS = (1000, 5000)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Events that a client is still to be sent: how far it is after them, and their bytes."""

    vector: Vector
    events: bytes


class Client:
    """`floor`: what lies below was given before, or is given by the resuming. Ends once; `reason` says why."""

    __slots__ = ("_bytes", "_queue", "_send", "_wake", "floor", "reason", "seal", "viewer")

    def __init__(self, viewer: Viewer, floor: Vector, seal: Callable[[Vector], str]) -> None:
        """`seal` makes an id of a vector."""
        self.viewer = viewer
        self.floor = floor
        self.seal = seal
        self.reason: str | None = None
        self._queue: deque[Waiting] = deque()
        self._bytes = 0
        self._wake: asyncio.Future[None] | None = None
        self._send: Send | None = None

    def offer(self, waiting: Waiting) -> None:
        """Events for this client. One that does not take them in is cut off: it comes again with the last id it has."""
        if self.reason is not None:
            return
        self._queue.append(waiting)
        self._bytes += len(waiting.events)
        if len(self._queue) > MAX_EVENTS or (self._bytes > MAX_BYTES and len(self._queue) > 1):
            self.end("slow")
        else:
            self._awake()

    def end(self, reason: str) -> None:
        """No more events, not even those that wait. A client in the middle of being sent some is cut off at once."""
        if self.reason is not None:
            return
        self.reason = reason
        metrics.EVENT_CLIENTS_ENDED.labels(reason).inc()
        self._queue.clear()
        if self._send is not None:
            abort(self._send)
        self._awake()

    async def run(
        self, send: Send, receive: Receive, missed: AsyncIterator[bytes] | None, reached: Callable[[], Vector]
    ) -> None:
        """Send until it goes away or is ended: first what it missed, then what comes. `reached`: how far all clients are."""
        narrow(send, KERNEL_BYTES)
        gone = asyncio.create_task(self._watch(receive))
        try:
            await self._write(send, b"retry: %d\n\n" % random.randint(*RETRY_MS))  # noqa: S311 - no secret
            if missed is not None:
                async for part in missed:
                    await self._write(send, part)
            silent = True
            while self.reason is None:
                if self._queue:
                    await self._write(send, self._taken())
                elif silent:
                    await self._write(send, b":\nid: %s\n\n" % self._id(reached()).encode())
                silent = await self._sleep(random.uniform(*HEARTBEAT))  # noqa: S311 - no secret
            if self.reason != "left" and not is_closing(send):
                await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()

    def _taken(self) -> bytes:
        """All that waits."""
        parts = []
        while self._queue:
            one = self._queue.popleft()
            parts.append(with_id(self._id(one.vector), one.events))
        self._bytes = 0
        return b"".join(parts)

    async def _write(self, send: Send, body: bytes) -> None:
        if self.reason is None and is_closing(send):
            self.end("left")
        if self.reason is not None:
            return
        self._send = send
        try:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        finally:
            self._send = None

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end("left")

    def _id(self, vector: Vector) -> str:
        """Never before the place where it began, which another gateway may have given."""
        return self.seal(later(vector, self.floor))

    async def _sleep(self, seconds: float) -> bool:
        """Until something is offered, it ends, or the time is over: then True."""
        loop = asyncio.get_running_loop()
        self._wake = loop.create_future()
        over = loop.time() + seconds
        timer = loop.call_at(over, self._awake)
        try:
            if not self._queue and self.reason is None:
                await self._wake
            return loop.time() >= over
        finally:
            timer.cancel()
            self._wake = None

    def _awake(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


def with_id(id_: str, events: bytes) -> bytes:
    """The events of one change; its last one carries the id."""
    body, last = events.rsplit(b"event: ", 1)
    return b"%sid: %s\nevent: %s" % (body, id_.encode(), last)
