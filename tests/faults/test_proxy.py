"""The proxy that breaks lines breaks them as it says."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread

import pytest

from tests.faults.proxy import Proxy


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy before a server that sends back what it gets."""
    server = socket.create_server(("127.0.0.1", 0))

    def echo(line: socket.socket) -> None:
        with line, suppress(OSError):
            while data := line.recv(65536):
                line.sendall(data)

    def serve() -> None:
        with suppress(OSError):
            while True:
                line, _ = server.accept()
                Thread(target=echo, args=(line,), daemon=True).start()

    Thread(target=serve, daemon=True).start()
    made = Proxy(lambda: ("127.0.0.1", server.getsockname()[1]))
    yield made
    made.close()
    server.close()


def line_to(proxy: Proxy) -> socket.socket:
    host, port = proxy.address.split(":")
    return socket.create_connection((host, int(port)), timeout=5)


def ask(line: socket.socket, text: bytes) -> bytes:
    line.sendall(text)
    return line.recv(65536)


def test_each_way_of_breaking_a_line(proxy: Proxy) -> None:
    """Otherwise the torture would report that the product bore faults which never happened."""
    line = line_to(proxy)
    assert ask(line, b"one") == b"one"
    proxy.refuse()
    with pytest.raises(ConnectionResetError):
        line.recv(1)
    with pytest.raises(ConnectionError):
        assert ask(line_to(proxy), b"two") == b""
        raise ConnectionResetError  # an end of file is as good as a reset
    proxy.heal()
    line = line_to(proxy)
    assert ask(line, b"three") == b"three"
    proxy.swallow()
    line.settimeout(0.3)
    with pytest.raises(TimeoutError):
        ask(line, b"four")
    line.settimeout(5)
    proxy.heal()
    assert line.recv(10) == b"four"
    proxy.delay(0.2)
    began = time.monotonic()
    assert ask(line, b"five") == b"five"
    assert time.monotonic() - began >= 0.4
    proxy.heal()
    assert proxy.cut() == 1
    assert ask(line, b"12345678") in (b"", b"1234")
    assert line.recv(10) == b""
