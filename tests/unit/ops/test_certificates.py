"""The private authority, its certificates, and the contexts that take new ones up."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from prometheus_client import REGISTRY

from ops.settings import load_settings
from ops.stack.errors import StackError
from ops.tls.authority import issue
from ops.tls.context import client_context, server_context, trusting
from ops.tls.services import SERVICES, Service
from ops.tls.store import Certificates

HOST = "127.0.0.1"


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    certificates = Certificates(tmp_path / "certs")
    certificates.create_missing()
    return certificates


def serials(certificates: Certificates) -> dict[str, str]:
    return {one["name"]: one["serial"] for one in certificates.listing()}


def replace(certificates: Certificates, service: Service, seconds: float) -> None:
    """Give a service a certificate that ends in so many seconds."""
    pem = issue(certificates.authority.read_bytes(), service, (HOST,), dt.timedelta(seconds=seconds))
    certificates.file(service.name).write_bytes(pem)


def test_keys_are_for_their_user_alone(made: Certificates) -> None:
    """Otherwise everyone on the machine could be the gateway, or make themselves a worker."""
    for file in made.folder.iterdir():
        public = file in (made.ca, made.ends, made.folder / "hosts")
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == (0o044 if public else 0), file
        assert (b"PRIVATE KEY" in file.read_bytes()) == (not public and file != made.tools)


def test_each_certificate_is_good_for_its_own_purpose_only(made: Certificates) -> None:
    """Otherwise a stolen certificate of a web server could command the broker, or a client could pose as the database."""
    for service in SERVICES:
        found = x509.load_pem_x509_certificate(made.file(service.name).read_bytes())
        purposes = set(found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        assert (ExtendedKeyUsageOID.SERVER_AUTH in purposes) == service.server
        assert (ExtendedKeyUsageOID.CLIENT_AUTH in purposes) == service.client
        assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    hosts = {one["name"]: one["hosts"] for one in made.listing()}
    assert {name for name, named in hosts.items() if named} == {one.name for one in SERVICES if one.server}
    assert hosts["kafka"] == ["kafka.athena.internal", "localhost", "127.0.0.1", "::1"]


def test_making_again_changes_nothing_and_rotating_everything_but_the_authority(made: Certificates) -> None:
    """Otherwise a start would throw running services out, or a rotation leave an old key in use."""
    before = serials(made)
    assert made.create_missing() == []
    assert serials(made) == before
    made.rotate()
    after = serials(made)
    assert {name for name in before if before[name] == after[name]} == {"authority"}


def test_what_ends_soon_is_made_anew_and_the_rest_stays(made: Certificates) -> None:
    """Otherwise a stack that is started often would still end with its certificates."""
    before = serials(made)
    replace(made, Service("worker"), -1)
    assert made.renew_ending() == ["worker"]
    assert {name: serial for name, serial in serials(made).items() if name != "worker"} == {
        name: serial for name, serial in before.items() if name != "worker"
    }
    assert made.ends_soonest()["days_left"] > 89  # type: ignore[index]


def test_an_authority_is_not_let_go_while_somebody_lives_by_it(made: Certificates) -> None:
    """Otherwise two changes in a row would shut every service out."""
    made.new_authority()
    with pytest.raises(StackError, match="certs rotate"):
        made.new_authority()
    made.rotate()
    made.new_authority()
    assert made.ca.read_bytes().count(b"BEGIN CERTIFICATE") == 2


@pytest.mark.parametrize("days", ["0", "826", "soon"])
def test_a_wrong_number_of_days_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: str) -> None:
    """Otherwise a typing error would make certificates that nobody takes, or that never end."""
    monkeypatch.setenv("ATHENA_CERT_DAYS", days)
    with pytest.raises(StackError, match="ATHENA_CERT_DAYS"):
        Certificates(tmp_path / "certs").create_missing()


@pytest.mark.parametrize(
    "variables",
    [("ATHENA_TLS_CA",), ("ATHENA_TLS_CERT", "ATHENA_TLS_KEY"), ("ATHENA_GATEWAY_TLS_CERT",)],
)
def test_half_a_setting_stops_the_start(monkeypatch: pytest.MonkeyPatch, variables: tuple[str, ...]) -> None:
    """Otherwise a forgotten line would leave a plain connection that everybody believes to be protected."""
    for variable in variables:
        monkeypatch.setenv(variable, "file.pem")
    with pytest.raises(SystemExit, match=r"set (all|both) of ATHENA_"):
        load_settings()


async def _greeted(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes:
    """The server's certificate (DER), after a line in each direction."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(await reader.readline())
            await writer.drain()
        finally:
            writer.close()

    async with await asyncio.start_server(answer, HOST, 0, ssl=server) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(HOST, port, ssl=client)
            writer.write(b"hello\n")
            assert await reader.readline() == b"hello\n"
            shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.close()
            return shown


def _der(file: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(file.read_text()[file.read_text().index("-----BEGIN CERTIFICATE") :])


def test_a_context_shows_a_new_certificate_in_its_next_handshake(made: Certificates) -> None:
    """Otherwise every rotation would need a restart, or the old certificate would end in mid-flight."""
    server, client = (
        server_context(made.file("kafka"), made.file("kafka"), made.ca),
        client_context(made.files("worker"), "kafka"),
    )
    for _ in range(2):
        assert asyncio.run(_greeted(server, client)) == _der(made.file("kafka"))
        made.rotate()
    made.new_authority()
    made.rotate()
    assert asyncio.run(_greeted(server, client)) == _der(made.file("kafka"))
    end = REGISTRY.get_sample_value("athena_certificate_ends_timestamp_seconds", {"file": "kafka.pem"})
    assert end == x509.load_pem_x509_certificate(made.file("kafka").read_bytes()).not_valid_after_utc.timestamp()


def test_half_a_change_leaves_the_former_certificate(made: Certificates, tmp_path: Path) -> None:
    """Otherwise the moment between two files of a change would refuse everybody."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    for file in (cert, key):
        file.write_bytes(made.file("kafka").read_bytes())
    former = _der(cert)
    server = server_context(cert, key)
    made.rotate()
    cert.write_bytes(made.file("kafka").read_bytes())
    assert asyncio.run(_greeted(server, trusting(made.ca))) == former
    key.write_bytes(made.file("kafka").read_bytes())
    assert asyncio.run(_greeted(server, trusting(made.ca))) == _der(cert)


def _foreign(made: Certificates, folder: Path) -> ssl.SSLContext:
    other = Certificates(folder / "other")
    other.create_missing()
    context = trusting(made.ca)
    context.load_cert_chain(other.file("worker"))
    return context


def _expired(made: Certificates, _folder: Path) -> ssl.SSLContext:
    replace(made, Service("worker"), -1)
    context = trusting(made.ca)
    context.load_cert_chain(made.file("worker"))
    return context


def _missing(made: Certificates, _folder: Path) -> ssl.SSLContext:
    return trusting(made.ca)


def _servers_own(made: Certificates, _folder: Path) -> ssl.SSLContext:
    context = trusting(made.ca)
    context.load_cert_chain(made.file("gateway-https"))
    return context


@pytest.mark.parametrize("caller", [_foreign, _expired, _missing, _servers_own])
def test_a_server_between_services_refuses_who_cannot_prove_who_they_are(
    made: Certificates, tmp_path: Path, caller: Callable[[Certificates, Path], ssl.SSLContext]
) -> None:
    """Otherwise anyone who reaches a service's port could act in another one's name."""
    server = server_context(made.file("kafka"), made.file("kafka"), made.ca)
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        asyncio.run(_greeted(server, caller(made, tmp_path)))
