"""An answer that goes out whole is the one that the server would have sent in pieces."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.server import line

HEADERS = [(b"content-length", b"2"), (b"content-type", b"application/json"), (b"etag", b'"7"')]


class Transport:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False
        self.paused = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written.append(data)

    def close(self) -> None:
        self.closed = True


class Exchange:
    """One call of a connection, as uvicorn has it."""

    def __init__(self, *, method: str = "POST", keep_alive: bool = True) -> None:
        self.transport: Any = Transport()
        self.told = 0
        logger = logging.getLogger("test")
        self.cycle = RequestResponseCycle(
            {"method": method},  # type: ignore[typeddict-item]
            self.transport, FlowControl(self.transport), logger, logger, False, [(b"date", b"today")],
            asyncio.Event(), False, keep_alive, self._tell,
        )  # fmt: skip

    def _tell(self) -> None:
        self.told += 1

    async def in_pieces(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        await self.cycle.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.cycle.send({"type": "http.response.body", "body": body, "more_body": False})

    @property
    def state(self) -> tuple[Any, ...]:
        cycle = self.cycle
        ended = cycle.response_started, cycle.response_complete, cycle.message_event.is_set()
        return (b"".join(self.transport.written), self.transport.closed, self.told, *ended)


@pytest.mark.parametrize("keep_alive", [True, False])
@pytest.mark.parametrize("status", [200, 201, 202, 404, 503])
def test_a_whole_answer_is_the_same_in_one_write(status: int, keep_alive: bool) -> None:
    """Clients would wait for an end that never comes, or take one answer for another's."""
    whole, pieces = Exchange(keep_alive=keep_alive), Exchange(keep_alive=keep_alive)
    asyncio.run(pieces.in_pieces(status, HEADERS, b"{}"))
    assert line.answer(whole.cycle.send, status, HEADERS, b"{}")
    assert whole.state == pieces.state
    assert len(whole.transport.written) == 1


def test_what_is_not_plain_is_left_to_the_server() -> None:
    """A body after HEAD, or words to somebody who has gone, would be read as the next answer."""
    assert not line.answer(Exchange(method="HEAD").cycle.send, 200, HEADERS, b"{}")
    gone, full, begun, plain = (Exchange() for _ in range(4))
    gone.cycle.disconnected = True
    full.cycle.flow.pause_writing()
    begun.cycle.response_started = True
    for one in (gone, full, begun):
        assert not line.answer(one.cycle.send, 200, HEADERS, b"{}")
    assert not line.answer(plain.cycle.send, 400, [*HEADERS, (b"connection", b"close")], b"{}")

    async def elsewhere(_: Any) -> None: ...

    assert not line.answer(elsewhere, 200, HEADERS, b"{}")
    assert [one.transport.written for one in (gone, full, begun, plain)] == [[], [], [], []]


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\0b"])
def test_a_header_that_would_end_its_line_is_not_sent(value: bytes) -> None:
    """Whoever chooses a value that is answered would write headers of their own."""
    exchange = Exchange()
    with pytest.raises(RuntimeError):
        line.answer(exchange.cycle.send, 200, [*HEADERS, (b"location", value)], b"{}")
    assert exchange.transport.written == []


def test_a_body_is_here_once_its_end_is() -> None:
    """A client that stops in the middle of its body would be waited for without a deadline."""
    exchange = Exchange()
    assert line.body(exchange.cycle.receive) is None
    exchange.cycle.body += b"{}"
    assert line.body(exchange.cycle.receive) is None
    exchange.cycle.more_body = False
    for name in ("waiting_for_100_continue", "disconnected", "response_complete"):
        setattr(exchange.cycle, name, True)
        assert line.body(exchange.cycle.receive) is None
        setattr(exchange.cycle, name, False)
    assert line.body(exchange.cycle.receive) == b"{}"


def test_a_body_is_taken_as_the_server_hands_it_over() -> None:
    """A connection that was told to stop would never be read again, or whoever waits for the client's end would not wait."""

    def filled() -> Exchange:
        exchange = Exchange()
        exchange.cycle.body += b"{}"
        exchange.cycle.more_body = False
        exchange.cycle.message_event.set()
        exchange.cycle.flow.pause_reading()
        return exchange

    def state(exchange: Exchange) -> tuple[Any, ...]:
        cycle = exchange.cycle
        return bytes(cycle.body), cycle.message_event.is_set(), cycle.flow.read_paused, exchange.transport.paused

    taken, received = filled(), filled()
    message: Any = asyncio.run(received.cycle.receive())  # type: ignore[arg-type]
    assert line.body(taken.cycle.receive) == message["body"]
    assert state(taken) == state(received) == (b"", False, False, False)
