"""For which hosts certificates are good, and that no server can pose as another one."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
import threading
from pathlib import Path

import pytest

from ops.stack.errors import Misuse
from ops.tls import authority
from ops.tls.context import client_context, server_context, trusting
from ops.tls.hosts import Hosts
from ops.tls.services import Service
from ops.tls.store import Certificates

HOST = "127.0.0.1"
HOSTS = "ATHENA_CERT_HOSTS"
LOOPBACK = ["localhost", "127.0.0.1", "::1"]


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    certificates = Certificates(tmp_path / "certs")
    certificates.create_missing()
    return certificates


def hosts(certificates: Certificates) -> dict[str, list[str]]:
    return {one["name"]: one["hosts"] for one in certificates.listing()}


async def _greet(server: ssl.SSLContext, client: ssl.SSLContext, host: str = HOST) -> None:
    """A handshake, and a line from the client, with which a client that was not asked would go on."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(await reader.readline())
            await writer.drain()
        finally:
            writer.close()

    async with await asyncio.start_server(answer, HOST, 0, ssl=server) as listening, asyncio.timeout(10):
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(HOST, port, ssl=client, server_hostname=host)
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
        writer.close()


def _greet_blocking(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    def answer(listening: socket.socket) -> None:
        line, _ = listening.accept()
        with line, server.wrap_socket(line, server_side=True) as protected:
            protected.recv(1)

    with socket.create_server((HOST, 0)) as listening:
        thread = threading.Thread(target=answer, args=(listening,))
        thread.start()
        try:
            with socket.create_connection(listening.getsockname(), 10) as line:
                client.wrap_socket(line, server_hostname=HOST).close()
        finally:
            thread.join(10)


def test_a_server_cannot_pose_as_another_one(made: Certificates) -> None:
    """Otherwise who has the database's key is given the decisions that were meant for the broker, or people's passwords."""

    def shows(name: str) -> ssl.SSLContext:
        return server_context(made.file(name), made.file(name))

    worker = made.files("worker")
    for means in ("kafka", "postgres"):
        client = client_context(worker, means)
        asyncio.run(_greet(shows(means), client))
        _greet_blocking(shows(means), client)
        for other in {"kafka", "postgres", "gateway-https"} - {means}:
            with pytest.raises(ssl.SSLCertVerificationError, match=f"this is {other}.*not {means}"):
                asyncio.run(_greet(shows(other), client))
            with pytest.raises(ssl.SSLCertVerificationError, match=f"this is {other}.*not {means}"):
                _greet_blocking(shows(other), client)
    asyncio.run(_greet(shows("gateway-https"), trusting(made.ca, "gateway-https")))
    with pytest.raises(ssl.SSLCertVerificationError, match="not gateway-https"):
        asyncio.run(_greet(shows("kafka"), trusting(made.ca, "gateway-https")))


def test_the_right_authority_does_not_make_up_for_the_wrong_host(made: Certificates) -> None:
    """Otherwise a server of ours anywhere could answer for all of them."""
    server = server_context(made.file("kafka"), made.file("kafka"))
    for client in (client_context(made.files("worker"), "kafka"), trusting(made.ca)):
        with pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)hostname|ip address"):
            asyncio.run(_greet(server, client, "budget.example.com"))


def test_the_authority_is_believed_for_its_hosts_alone(made: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise who gets its key could be any site of the internet to the browsers that believe it."""
    monkeypatch.setattr(authority, "permits", lambda *_: True)  # as a thief would
    for host in ("bank.example.com", "192.0.2.7"):
        file = made.folder / "stolen.pem"
        one = Service("gateway-https", server=True)
        file.write_bytes(authority.issue(made.authority.read_bytes(), one, (host,), dt.timedelta(days=1)))
        with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
            asyncio.run(_greet(server_context(file, file), trusting(made.ca), host))


def test_public_hosts_are_the_gateways_alone(made: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise who has the broker's key could be the whole product to every browser."""
    monkeypatch.setenv(HOSTS, "Budget.Example.com 192.0.2.7 kafka=broker.example.com")
    with pytest.raises(Misuse, match=r"budget\.example\.com.*athena certs authority"):
        made.rotate()
    assert hosts(made)["gateway-https"] == ["gateway-https.athena.internal", *LOOPBACK]
    made.new_authority()
    made.rotate()
    found = hosts(made)
    assert found["gateway-https"] == ["gateway-https.athena.internal", *LOOPBACK, "budget.example.com", "192.0.2.7"]
    assert found["kafka"] == ["kafka.athena.internal", *LOOPBACK, "broker.example.com"]
    assert found["postgres"] == ["postgres.athena.internal", *LOOPBACK]
    server = server_context(made.file("gateway-https"), made.file("gateway-https"))
    asyncio.run(_greet(server, trusting(made.ca, "gateway-https"), "budget.example.com"))


def test_hosts_are_kept_and_those_that_changed_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a rotation by somebody who does not know of the hosts would shut everybody out."""
    monkeypatch.setenv(HOSTS, "budget.example.com")
    made = Certificates(tmp_path / "certs")
    made.create_missing()
    monkeypatch.delenv(HOSTS)
    before = hosts(made)
    assert "budget.example.com" in before["gateway-https"]
    made.rotate()
    made.new_authority()
    made.rotate()
    assert hosts(made) == before
    assert made.renew_ending() == []
    monkeypatch.setenv(HOSTS, "localhost")
    assert made.renew_ending() == ["gateway-https"]
    assert "budget.example.com" not in hosts(made)["gateway-https"]


def test_the_hosts_of_a_former_release_are_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the first start of a new release would shut out all who come by the public name."""
    monkeypatch.setenv(HOSTS, "budget.example.com")
    made = Certificates(tmp_path / "certs")
    made.create_missing()
    monkeypatch.delenv(HOSTS)
    (made.folder / "hosts").unlink()
    made.rotate()
    assert "budget.example.com" in hosts(made)["gateway-https"]
    assert (made.folder / "hosts").read_text() == "budget.example.com\n"


@pytest.mark.parametrize(
    "host",
    [
        "https://budget.example.com",
        "budget.example.com:443",
        "10.0.0.0/8",
        "*",
        "*.example.com",
        "a,b",
        "münchen.example",
        "-a.example",
        "a..b",
        "under_score.example",
        "1.2.3.400",
        "kafka.athena.internal",
        "worker=worker.example.com",
        "kafka=",
        "a" * 64,
    ],
)
def test_what_is_no_host_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Otherwise a typing error would be found by the first browser, or make a certificate that is good for too much."""
    monkeypatch.setenv(HOSTS, f"good.example.com {host}")
    with pytest.raises(Misuse, match=HOSTS):
        Hosts(tmp_path)
    with pytest.raises(Misuse, match=HOSTS):
        Certificates(tmp_path / "certs").create_missing()
    assert not list((tmp_path / "certs").glob("*.pem"))
