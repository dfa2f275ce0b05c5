"""New certificates for a stack that runs: written, taken up by every server, and seen to be shown."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from pathlib import Path

from cryptography import x509

from ops.postgres.clients import connect
from ops.stack.errors import StackError
from ops.stack.home import LOOPBACK, Home
from ops.stack.identity import identities
from ops.stack.state import is_supervised
from ops.tls.broker_files import read_anew
from ops.tls.context import Files, trusting
from ops.tls.install import folder_of, install

#: How long a server may take to show its new certificate: the broker reads its files anew in the background.
TAKE_UP_SECONDS = 30.0
HANDSHAKE_SECONDS = 5.0
POLL = 0.2
_POSTGRES_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


async def rotate(home: Home) -> list[str]:
    """Make all certificates anew, and let the running servers take theirs up; returns a sentence for each server.

    Clients and the gateway look at their files before each handshake, so nothing is told to them.

    Raises:
        StackError: they cannot be made; or they are, and a server does not take its own up.
    """
    sentences = []
    try:
        # First everybody believes the authority: a new one may have been made while a server was away.
        await _publish(home)
    except StackError as error:
        # What is broken or has ended is mended by what follows, if by anything.
        sentences = [f"before the change: {error}"]
    home.certificates.rotate()
    return [*sentences, *await _take_up(home)]


async def renew(home: Home) -> list[str]:
    """Make anew what ends soon or is of no use, and let the running servers take theirs up. Returns and raises as `rotate`."""
    names = home.certificates.renew_ending()
    if not names and not home.certificates.authority.exists():
        return []  # nothing is new, and asking the servers takes a signature
    # Without anything new, too: a server may have been away the last time.
    sentences = await _take_up(home)
    return [f"made anew: {', '.join(names)}", *sentences] if names else sentences


async def replace_authority(home: Home) -> list[str]:
    """Make a new authority and let everybody believe it beside the former one; the next `rotate` signs with it.

    Raises: as `rotate`.
    """
    home.certificates.new_authority()
    return await _take_up(home)


async def _take_up(home: Home) -> list[str]:
    try:
        return await _publish(home)
    except StackError as error:
        raise StackError(
            f"The new certificates are written in {home.certificates.folder}; not every server has taken its own up: {error} "
            f"Start the stack again: athena down --home {home.path}, athena up --home {home.path}"
        ) from error


async def _publish(home: Home) -> list[str]:
    """Raises StackError: a server is away, or does not take its certificate up."""
    from aiokafka.errors import KafkaError  # noqa: PLC0415 - imported where a stack runs: most commands need none of it
    from asyncpg import PostgresError  # noqa: PLC0415

    try:
        return await _published(home)
    except (OSError, TimeoutError, ValueError, KafkaError, PostgresError) as error:
        raise StackError(f"{error or type(error).__name__}.") from error


async def _published(home: Home) -> list[str]:
    servers = home.choices().get("servers")
    if not (home.tls and servers):
        return []
    install(home.certificates, Path(servers), identities())
    if not is_supervised(home):
        return []
    listeners = await read_anew(home.kafka, folder_of(Path(servers), "kafka"))
    connection = await connect(home.database_url("superuser"), timeout=HANDSHAKE_SECONDS)
    try:
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close(timeout=HANDSHAKE_SECONDS)
    places = dict.fromkeys(listeners, "kafka")
    places[f"{LOOPBACK}:{home.port('postgres')}"] = "postgres"
    places[f"{LOOPBACK}:{home.port('gateway')}"] = "gateway-https"
    with home.certificates.visitor() as visitor:
        return [await _shown(home, visitor, place, service) for place, service in places.items()]


async def _shown(home: Home, visitor: Files, place: str, service: str) -> str:
    """Wait until the server there shows the certificate that is in its file, and believes our authority."""
    wanted = x509.load_pem_x509_certificate(home.certificates.file(service).read_bytes())
    context = trusting(visitor.ca)
    context.load_cert_chain(visitor.cert, visitor.key)
    # In TLS 1.3 a client is done before the server has looked at its certificate.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    deadline = time.monotonic() + TAKE_UP_SECONDS
    while True:
        with contextlib.suppress(OSError):
            shown = await asyncio.to_thread(certificate_at, place, context, service == "postgres")
            if shown == wanted:
                return f"{service} at {place} shows certificate {shown.serial_number:x}"
        if time.monotonic() > deadline:
            raise StackError(f"{service} at {place} does not show its new certificate after {TAKE_UP_SECONDS:.0f} s.")
        await asyncio.sleep(POLL)


def certificate_at(place: str, context: ssl.SSLContext, postgres: bool = False) -> x509.Certificate:
    """What the server at host:port shows. Raises OSError when it does not answer, or one side does not believe the other."""
    host, _, port = place.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=HANDSHAKE_SECONDS) as line:
        if postgres:
            line.sendall(_POSTGRES_SSL_REQUEST)
            if line.recv(1) != b"S":
                raise OSError("PostgreSQL has no TLS")
        with context.wrap_socket(line, server_hostname=host) as protected:
            return x509.load_der_x509_certificate(protected.getpeercert(binary_form=True) or b"")
