"""Connections to the gateway's HTTPS: counted from the first moment, in whatever state they are."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ops.tls.store import Certificates
from tests import gateways
from tests.gateways import Gateway
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.xdist_group("edge")

SECONDS, SHARE = 1.0, 8
#: Well over the deadline, well under the 60 s that the event loop gives a handshake.
LATE = SECONDS + 15.0


@pytest.fixture(scope="module")
def https(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = Certificates(Path(tmp_path_factory.mktemp("https")) / "certs")
    made.create_missing()
    with gateways.started(
        stack,
        made,
        ATHENA_HEAD_SECONDS=str(SECONDS),
        ATHENA_CONNECTIONS_PER_ADDRESS=str(SHARE),
        ATHENA_RATE_LIMITS="off",
    ) as gateway:
        yield gateway


def refused(gateway: Gateway, reason: str) -> float:
    return gateway.figure(f'athena_gateway_connections_refused_total{{reason="{reason}"}}')


def _ended(line: socket.socket) -> bool:
    try:
        return line.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def _held(lines: list[socket.socket]) -> list[socket.socket]:
    return [line for line in lines if not _ended(line)]


@contextlib.contextmanager
def silent(gateway: Gateway, count: int, first: bytes = b"") -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as kept:
        lines = []
        for _ in range(count):
            line = kept.enter_context(
                socket.create_connection(("127.0.0.1", gateway.port), 10, source_address=("127.0.0.2", 0))
            )
            with contextlib.suppress(ConnectionError):
                line.sendall(first)
            line.setblocking(False)
            lines.append(line)
        yield lines


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["nothing", "half a greeting"])
def test_who_begins_no_handshake_has_a_share_and_a_deadline(https: Gateway, first: bytes) -> None:
    """Otherwise one machine could hold every place at the gateway, at no cost and seen by nobody."""
    beyond, unshaken = refused(https, "address"), refused(https, "handshake")
    began = time.monotonic()
    with silent(https, 3 * SHARE, first) as lines:
        wait_until(lambda: len(_held(lines)) <= SHARE, LATE, "the rest is held")
        assert time.monotonic() - began < SECONDS, "those beyond the share are closed at once"
        assert len(_held(lines)) == SHARE
        assert https.figure("athena_gateway_connections") >= SHARE
        # Others are served meanwhile.
        assert httpx.get(f"{https.base}/readyz", verify=https.trust, timeout=20).status_code == 200
        wait_until(lambda: not _held(lines), LATE, "a silent line is held")
    wait_until(lambda: https.figure("athena_gateway_connections") == 0, LATE, "a place is not given back")
    assert refused(https, "address") - beyond == 2 * SHARE
    assert refused(https, "handshake") - unshaken == SHARE


def test_who_leaves_in_mid_handshake_and_who_speaks_no_tls_give_their_places_back(https: Gateway) -> None:
    """Otherwise an address would be kept out for good after a few broken connections."""
    for first in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00"):
        for _ in range(2 * SHARE):
            with silent(https, 1, first):
                pass
            wait_until(lambda: https.figure("athena_gateway_connections") == 0, LATE, "a place is not given back")
    transport = httpx.HTTPTransport(verify=https.trust, local_address="127.0.0.2")
    with httpx.Client(transport=transport, timeout=20) as client:
        for _ in range(3):
            assert client.get(f"{https.base}/livez").status_code == 200


def test_a_silent_line_after_the_handshake_ends_as_over_http(https: Gateway) -> None:
    """Otherwise whoever pays for one handshake would hold a place for ever."""
    before = refused(https, "silent")
    assert https.trust is not True
    with (
        socket.create_connection(("127.0.0.1", https.port), 10) as line,
        https.trust.wrap_socket(line, server_hostname="127.0.0.1") as protected,
    ):
        protected.settimeout(LATE)
        assert protected.recv(1) == b""
    assert refused(https, "silent") == before + 1
    wait_until(lambda: https.figure("athena_gateway_connections") == 0, LATE, "a place is not given back")


def test_it_ends_while_somebody_is_in_mid_handshake(stack: Stack, https: Gateway) -> None:
    """Otherwise one silent client would hold up every restart."""
    with (
        gateways.started(stack, https.tls, ATHENA_HEAD_SECONDS="60") as gateway,
        silent(gateway, 2) as lines,
    ):
        wait_until(lambda: gateway.figure("athena_gateway_connections") == 2, LATE, "not counted")
        began = time.monotonic()
        gateway.process.terminate()
        assert gateway.process.wait(30) == 0
        assert time.monotonic() - began < 5
        wait_until(lambda: not _held(lines), LATE, "a silent line is held")
