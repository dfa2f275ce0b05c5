"""One connection of a client: uvicorn's, within bounds of size and time, and strict about what can be read in two ways."""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway import metrics
from gateway.http.addresses import UNKNOWN, normal
from gateway.server.door import Door, Verdict
from gateway.server.reader import Counted, Reader
from gateway.server.refusals import (
    Refused,
    crowded,
    long_headers,
    long_url,
    on_the_wire,
    slow_head,
    too_many,
    too_many_waiting,
    unreadable,
)

MAX_URL = 16 * 1024
MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024
#: Requests of one connection that wait for the one before.
MAX_PIPELINED = 16
#: What is read and thrown away of a body after its answer.
MAX_IGNORED = 4 * 1024 * 1024
#: How long a client that was answered may go on sending before the connection ends: a reset would take the answer from it.
LINGER_SECONDS = 1.0
#: A body's reader gives up first, and answers.
_BODY_GRACE = 2.0
#: Bytes of bodies that are read of requests which wait for the one before.
MAX_WAITING = 64 * 1024


class Connection(HttpToolsProtocol):
    """A connection is in at most one of: its head arrives (until `_head_until`), its body does (until `_body_until`), or it was
    answered and waits for its next call (until `_idle_until`).
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        door: Door,
        arrived: tuple[str, Verdict] | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        #: Whether it leaves by itself, when it ends.
        self.entered = False
        #: Its address, and what the door said when it was accepted; None: the door is asked when the connection is made.
        self._arrived = arrived
        self.url = b""
        self._door = door
        self._address = UNKNOWN
        self._crowded = False
        #: Nothing more is read from this client.
        self._deaf = False
        #: The answer to a broken request, for when those before it are answered.
        self._last_words: bytes | None = None
        self._head_until: float | None = None
        self._body_until: float | None = None
        self._idle_until: float | None = None
        self._counted: Counted | None = None
        self._reader = Reader(door.answer_seconds)
        #: What is being answered; `cycle` is the newest request, which may wait for it.
        self._running: RequestResponseCycle | None = None
        #: When the last piece of data came, and its length in bytes.
        self._now = 0.0
        self._piece = 0
        #: Bytes since the head began, or since the last piece of a body: heads, chunk extensions and trailers without end.
        self._overhead = 0
        self._ignored = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        counted = self._counted = Counted(transport)
        super().connection_made(counted)  # type: ignore[arg-type]
        if self._arrived is None:
            address = (self.client and normal(self.client[0])) or UNKNOWN
            self._arrived = address, self._door.enter(address)
        self._address, verdict = self._arrived
        self.entered = True
        self._now = self.loop.time()
        self._expect_head()
        if verdict is Verdict.OPEN:
            return
        metrics.CONNECTIONS_REFUSED.labels(verdict.value).inc()
        if verdict is Verdict.CROWDED:
            self._crowded = True
            self.app = crowded(self.app)
            return
        self._deaf = True
        if verdict is Verdict.TOO_MANY:
            transport.write(self._words(too_many(self._door.most_per_address)))
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # uvicorn tells the newest request only, which may wait behind an answer without an end.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        self.pipeline.clear()
        self._door.leave(self._address)

    def data_received(self, data: bytes) -> None:
        self._idle_until = None
        if self._deaf:
            return
        self._now = self.loop.time()
        self._piece = len(data)
        if self._head_until is None and self._body_until is None and self._all_answered():
            self._expect_head()
        self._overhead += self._piece
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # We speak nothing but HTTP/1.1. The call is answered as if it had not asked; what follows may be another protocol.
            self.cycle.keep_alive = False
            self._deaf = True
        except httptools.HttpParserError as error:
            self._refuse(error.__context__ if isinstance(error.__context__, Refused) else unreadable())
        else:
            arriving = self._head_until is not None or self._body_until is not None
            if arriving and self._overhead > MAX_URL + MAX_HEADER_BYTES:
                self._refuse(_too_long(self.url))

    # What the parser finds.

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            raise too_many_waiting(MAX_PIPELINED)
        super().on_message_begin()
        if self._head_until is None:
            self._expect_head()
            self._overhead = 1  # at least: it began within a piece

    def on_headers_complete(self) -> None:
        self._check_head()
        super().on_headers_complete()
        # What comes after the body (a trailer field) is no header of the call: nobody has checked it as one.
        self.headers = []
        self._head_until = None
        self._body_until = self._now + self._door.body_seconds + _BODY_GRACE
        if self._crowded or self.expect_100_continue:
            # Who is answered before being told to go on may send the body or not: nobody knows where the next head begins.
            self.cycle.keep_alive = False
        self._listen()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _listen(self) -> None:
        """Go on reading behind an answer, which uvicorn does not: it would not hear that the client has gone."""
        if self.pipeline and sum(len(cycle.body) for cycle, _ in self.pipeline) <= MAX_WAITING:
            self.flow.resume_reading()

    def on_body(self, body: bytes) -> None:
        self._overhead = 0
        if self.cycle.response_complete:
            self._ignored += len(body)
            if self._ignored > MAX_IGNORED:
                self._end("unread-body")
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._body_until = None
        super().on_message_complete()
        self._listen()

    def on_response_complete(self) -> None:
        if self._last_words is not None and not self.pipeline:
            self._say_last(self._last_words)
        now = self.loop.time()
        self._go_on(now)
        if self._body_until is not None:
            self._body_until = min(self._body_until, now + LINGER_SECONDS)

    def _go_on(self, now: float) -> None:
        """As uvicorn does after an answer, but that `sweep` ends who stays idle: a timer for each answer would cost more."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._idle_until = now + self.timeout_keep_alive

    # How it ends.

    def sweep(self, now: float) -> None:
        """End it, if the client takes too long. Called now and then."""
        if not self._reads(now):
            self._end("slow-reader")
            return
        if self._idle_until is not None and now > self._idle_until:
            self.transport.close()
            return
        if self._deaf or self.flow.read_paused:
            return
        if self._head_until is not None and now > self._head_until:
            if self._overhead:
                self._refuse(slow_head(self._door.head_seconds))
            else:
                metrics.CONNECTIONS_REFUSED.labels("silent").inc()
                self.transport.close()
        elif self._body_until is not None and now > self._body_until:
            self._end("slow-body")

    def _reads(self, now: float) -> bool:
        """Whether the client takes what it is sent."""
        assert self._counted is not None
        return self._reader.keeps_pace(now, self._counted.written, self.transport.get_write_buffer_size())

    def _expect_head(self) -> None:
        self._head_until = self._now + self._door.head_seconds
        self._overhead = 0

    def _all_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _check_head(self) -> None:
        """What the parser lets pass. Raises Refused."""
        may_be_long = self._overhead + self._piece > MAX_HEADER_BYTES
        if (
            len(self.url) > MAX_URL
            or len(self.headers) > MAX_HEADERS
            or (may_be_long and sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEADER_BYTES)
        ):
            raise _too_long(self.url)
        names = [name for name, _ in self.headers]
        hosts = names.count(b"host")
        version = self.parser.get_http_version()
        if version == "1.0":
            # RFC 9112, 6.1: who speaks HTTP/1.0 has no Transfer-Encoding, so its framing is somebody's mistake.
            if hosts > 1 or b"transfer-encoding" in names:
                raise unreadable()
        elif version != "1.1" or hosts != 1:  # RFC 9112, 3.2
            raise unreadable()
        if b"#" in self.url:
            raise unreadable()

    def _words(self, refused: Refused) -> bytes:
        return on_the_wire(refused.problem, self.server_state.default_headers)

    def _refuse(self, refused: Refused) -> None:
        """Answer the request that is arriving, after those before it, and then end."""
        metrics.CONNECTIONS_REFUSED.labels(refused.reason).inc()
        self._deaf = True
        words = self._words(refused)
        if self._body_until is None:  # its head is broken: it has no cycle
            if self._all_answered():
                self._say_last(words)
            else:
                self._last_words = words
        elif self.pipeline:  # the newest one is broken, and has not begun
            self.pipeline.popleft()
            self._last_words = words
        elif self.cycle.response_started:
            self.transport.close()
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._say_last(words)

    def _say_last(self, words: bytes) -> None:
        self._last_words = None
        if self.transport.is_closing():
            return
        self.transport.write(words)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _end(self, reason: str) -> None:
        metrics.CONNECTIONS_REFUSED.labels(reason).inc()
        self._deaf = True
        self.transport.abort()


def _too_long(url: bytes) -> Refused:
    return long_url(MAX_URL) if len(url) > MAX_URL else long_headers(MAX_HEADERS, MAX_HEADER_BYTES)
