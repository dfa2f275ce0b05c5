"""TLS contexts of clients and servers: TLS 1.2 or later, both sides proved, new certificates taken up without a restart.

A client says which service it means, not only where it is: on one machine all of them are at one address, and who has one
server's key could otherwise pose as another. Files are looked at before each handshake. A connection that is open stays as it is;
the next one has the new certificate.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import structlog

from ops.stack.errors import StackError
from ops.tls.services import DOMAIN, name_of

log = structlog.get_logger(__name__)

#: A file may be replaced between two reads of one attempt; hardly twice in a row.
ATTEMPTS = 3
#: Of TLS 1.2; those of TLS 1.3 are all of this kind. Keys for one session, and encryption that notices every change.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, slots=True)
class Files:
    """What a service shows and whom it believes, in PEM: `cert` is its chain, `key` its private key (they may be one file),
    `ca` the authorities."""

    ca: Path
    cert: Path
    key: Path


class NamedContext(ssl.SSLContext):
    """Lets a client go on only with the service that it means; `service` None: with whoever is at that host."""

    service: str | None = None

    def check(self, line: ssl.SSLObject | ssl.SSLSocket) -> None:
        """After a handshake. A certificate of somebody else's authority, which names no service of ours, is believed by its host.

        Raises:
            ssl.SSLCertVerificationError: it is another service.
        """
        if self.service is None:
            return
        shown: Mapping[str, Any] = line.getpeercert() or {}
        names = [
            name for kind, name in shown.get("subjectAltName", ()) if kind == "DNS" and name.endswith(f".{DOMAIN}")
        ]
        if names and name_of(self.service) not in names:
            raise ssl.SSLCertVerificationError(f"this is {', '.join(names)}, and not {self.service}")


class _NamedObject(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        if isinstance(self.context, NamedContext):
            self.context.check(self)


class _NamedSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        if isinstance(self.context, NamedContext):
            self.context.check(self)


class ReloadingContext(NamedContext):
    """Takes changed files up before the next handshake. Files that do not fit each other leave it as it was, and are tried
    again at the next one. An authority that was taken out of the file is believed until the process ends."""

    paths: tuple[Path, ...] = ()
    read: Callable[[ssl.SSLContext], None]
    stamp: tuple[tuple[int, int, int], ...] = ()

    def follow(self, paths: tuple[Path, ...], read: Callable[[ssl.SSLContext], None]) -> None:
        """Read the files now, with `read`, and again whenever one has changed.

        Raises:
            StackError: a file cannot be read, or a key does not fit its certificate.
        """
        self.paths, self.read = paths, read
        try:
            self._reload()
        except (OSError, ssl.SSLError) as error:
            names = ", ".join(str(path) for path in paths)
            raise StackError(f"The certificates {names} cannot be used: {error}. Make them: athena certs") from error

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """A handshake of asyncio or uvloop."""
        self._renew()
        return super().wrap_bio(*arguments, **options)

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """A handshake on a blocking socket."""
        self._renew()
        return super().wrap_socket(*arguments, **options)

    def _renew(self) -> None:
        try:
            self._reload()
        except (OSError, ssl.SSLError) as error:
            log.warning(
                "changed certificates cannot be used; the former ones stay",
                files=list(map(str, self.paths)),
                error=str(error),
            )

    def _reload(self) -> None:
        for attempt in range(ATTEMPTS):
            stamp = tuple(
                (found.st_mtime_ns, found.st_ino, found.st_size) for found in (path.stat() for path in self.paths)
            )
            if stamp == self.stamp:
                return
            try:
                # Tried on one that nobody uses: half a change would leave this one without a key.
                self.read(ssl.SSLContext(self.protocol))
                self.read(self)
            except ssl.SSLError:
                if attempt + 1 == ATTEMPTS:
                    raise
            else:
                self.stamp = stamp
                _tell_ends(self.paths)
                return


class _Leaving(_NamedObject):
    """Says farewell and does not wait for the other side's, as TLS allows. With uvloop a consumer that was stopped during a
    fetch waited 30 s for Kafka's; `GET /audit/verify` ran into its time-out."""

    def unwrap(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            super().unwrap()


def _tell_ends(files: tuple[Path, ...]) -> None:
    # Imported where there are certificates: the supervisor and plain processes need none of it.
    from cryptography import x509  # noqa: PLC0415

    from ops.tls.metrics import ENDS  # noqa: PLC0415

    for file in files:
        # A key may have a file of its own; and OpenSSL has taken what is in the others.
        with contextlib.suppress(ValueError):
            # Of the authorities, the first one signs; the former one goes before long.
            end = x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
            ENDS.labels(file.name).set(end.timestamp())


@cache
def client_context(files: Files, service: str) -> ssl.SSLContext:
    """For connections to a service: its name and its host are checked, and our certificate is shown.

    Raises:
        StackError: a file cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, files.cert, files.key, files.ca)
    context.service = service
    context.sslobject_class = _Leaving
    context.sslsocket_class = _NamedSocket
    return context


def server_context(cert: Path, key: Path, clients: Path | None = None) -> ssl.SSLContext:
    """For a server. With `clients`, the authorities of its callers, only those who show a certificate get in.

    Raises:
        StackError: a file cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, cert, key, clients)
    context.verify_mode = ssl.CERT_NONE if clients is None else ssl.CERT_REQUIRED
    return context


def trusting(ca: Path, service: str | None = None) -> ssl.SSLContext:
    """For callers without a certificate of their own: believes this authority, and no other; `service` as in `NamedContext`.

    Raises:
        StackError: the file cannot be used.
    """
    context = NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(ca)
    except OSError as error:  # an ssl.SSLError, too
        raise StackError(f"The authorities in {ca} cannot be read: {error}. Make them anew: athena certs") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.service = service
    context.sslobject_class = _NamedObject
    context.sslsocket_class = _NamedSocket
    return context


def _context(protocol: int, cert: Path, key: Path, ca: Path | None) -> ReloadingContext:
    def read(context: ssl.SSLContext) -> None:
        context.load_cert_chain(cert, key)
        if ca is not None:
            context.load_verify_locations(ca)

    context = ReloadingContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.follow(tuple(dict.fromkeys(path for path in (cert, key, ca) if path is not None)), read)
    return context
