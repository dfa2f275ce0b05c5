"""The certificates of a home, in `certs/`: keys for its user alone, `ca.pem` for everybody."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.stack.errors import Misuse, StackError
from ops.stack.records import write_text
from ops.tls.context import Files
from ops.tls.hosts import Hosts
from ops.tls.listing import ends_in_text, listed
from ops.tls.services import SERVICES, Service

# `ops.tls.authority` is imported where it makes or reads certificates: a start that finds them all needs none of it.
# ruff: noqa: PLC0415

DAYS = "ATHENA_CERT_DAYS"
MOST_DAYS = 825
#: `athena up`, and the supervisor once a day, make a certificate anew that has less than this share of its time left.
RENEWED_BELOW = 1 / 3
ALL = tuple(service.name for service in SERVICES)


_TOOLS = """security.protocol=SSL
ssl.keystore.type=PEM
ssl.keystore.location={owner}
ssl.truststore.type=PEM
ssl.truststore.location={ca}
"""


@dataclass(frozen=True, slots=True)
class Certificates:
    """The folder; nothing is made until `create_missing`. One process at a time changes it, others wait for it."""

    folder: Path

    @property
    def ca(self) -> Path:
        """The authorities that services believe, in PEM; the one that signs comes first."""
        return self.folder / "ca.pem"

    @property
    def authority(self) -> Path:
        """The authority's private key and certificate; may be kept elsewhere until something is to be signed."""
        return self.folder / "authority.pem"

    @property
    def tools(self) -> Path:
        """For Kafka's own tools: `--command-config FILE`."""
        return self.folder / "tools.properties"

    @property
    def ends(self) -> Path:
        """When each certificate ends, as Prometheus reads it from a file."""
        return self.folder / "ends.prom"

    def file(self, service: str) -> Path:
        """A service's private key and certificate."""
        return self.folder / f"{service}.pem"

    def files(self, service: str) -> Files:
        """What a service shows and whom it believes."""
        return Files(self.ca, self.file(service), self.file(service))

    def create_missing(self) -> list[str]:
        """Make the authority and the certificates that are missing; returns the names of those made.

        Raises:
            Misuse: `ATHENA_CERT_DAYS` or `ATHENA_CERT_HOSTS` is wrong, or the authority may not sign for a host.
            StackError: the authority cannot be read, is kept elsewhere, or has ended.
        """
        with self._locked():
            self._believe_again()
            return self._issue([name for name in ALL if not self.file(name).exists()])

    def renew_ending(self) -> list[str]:
        """Make anew what ends soon (see `RENEWED_BELOW`), cannot be read, is of an authority that nobody believes, or is not good
        for the hosts that are wanted; returns the names. Raises as `create_missing`."""
        hosts = Hosts(self.folder)
        with self._locked():
            return self._issue([service.name for service in SERVICES if self._is_due(service, hosts)])

    def rotate(self) -> list[str]:
        """Make every service's certificate anew, under the same authority; returns their names. Raises as `create_missing`."""
        with self._locked():
            self._believe_again()
            return self._issue(ALL)

    def new_authority(self) -> None:
        """Replace the authority. Both are believed from now on; certificates of the former one stay good.

        Raises:
            StackError: a service still has a certificate of the authority before, which would be believed no longer.
        """
        with self._locked():
            self._new_authority()

    @contextlib.contextmanager
    def visitor(self) -> Iterator[Files]:
        """A certificate of the authority for a moment, of nobody who may do anything. Raises StackError as `create_missing`."""
        file = self.folder / f"visitor-{os.getpid()}.pem"
        self._sign(Service("visitor"), (), dt.timedelta(hours=1), file)
        try:
            yield Files(self.ca, file, file)
        finally:
            file.unlink(missing_ok=True)

    def listing(self, names: Collection[str] = ("authority", *ALL)) -> list[dict[str, Any]]:
        """See `ops.tls.listing.listed`.

        Raises:
            StackError: a file is there and cannot be read.
        """
        return listed(self.ca, [(name, self.file(name)) for name in names])

    def ends_soonest(self) -> dict[str, Any] | None:
        """`name` and `days_left` of what ends first, the authority included; None where there is none. Raises as `listing`."""
        left = [(one["days_left"], one["name"]) for one in self.listing()]
        if not left:
            return None
        days_left, name = min(left)
        return {"name": name, "days_left": days_left}

    def _is_due(self, service: Service, hosts: Hosts) -> bool:
        try:
            found = self.listing((service.name,))
        except StackError:
            return True
        if not found:
            return True
        wanted = hosts.of(service.name) if service.server else ()
        return not found[0]["believed"] or _ends_soon(found[0]) or set(found[0]["hosts"]) != set(wanted)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o755)
        handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _believe_again(self) -> None:
        """`ca.pem` from the authority, where somebody has removed or spoilt it."""
        from ops.tls.authority import certificates_of

        with contextlib.suppress(FileNotFoundError, ValueError):
            certificates_of(self.ca.read_bytes())
            return
        if not self.authority.exists():
            return
        try:
            write_text(self.ca, certificates_of(self.authority.read_bytes()).decode(), 0o644)
        except ValueError as error:
            raise StackError(f"The authority {self.authority} cannot be used: {error}") from error

    def _new_authority(self) -> None:
        from ops.tls.authority import certificates_of, new_authority

        if behind := [one["name"] for one in self.listing() if not one["current"]]:
            raise StackError(f"{', '.join(behind)}: certificates of a former authority. First: athena certs rotate")
        hosts = Hosts(self.folder)
        try:
            former = b"" if self._is_new() else certificates_of(self._authority())
        except ValueError as error:
            raise StackError(f"The authority {self.authority} cannot be read: {error}. Put it back") from error
        made = new_authority(f"Athena Budget authority {os.urandom(4).hex()}", hosts.every)
        write_text(self.ca, (certificates_of(made) + former).decode(), 0o644)
        write_text(self.authority, made.decode())
        hosts.keep()

    def _issue(self, names: Collection[str]) -> list[str]:
        if not names:
            return []
        valid, hosts = dt.timedelta(days=days()), Hosts(self.folder)
        if self._is_new():
            self._new_authority()
        self._check_hosts(hosts)
        write_text(self.tools, _TOOLS.format(owner=self.file("owner"), ca=self.ca))
        made = [service for service in SERVICES if service.name in names]
        for service in made:
            wanted = hosts.of(service.name) if service.server else ()
            self._sign(service, wanted, valid, self.file(service.name))
        hosts.keep()
        with contextlib.suppress(StackError):  # another one's file cannot be read
            write_text(self.ends, ends_in_text(self.listing()), 0o644)
        return [service.name for service in made]

    def _is_new(self) -> bool:
        """Whether there never was an authority; the key alone may be elsewhere."""
        return not any(file.exists() for file in (self.authority, self.ca, *map(self.file, ALL)))

    def _check_hosts(self, hosts: Hosts) -> None:
        """Before anything is written, so that either all are made or none is."""
        from cryptography import x509

        from ops.tls.authority import permits

        try:
            authority = x509.load_pem_x509_certificate(self._authority())
        except ValueError:
            return  # `_sign` says what is wrong with it
        if beyond := [host for host in hosts.every if not permits(authority, host)]:
            raise Misuse(
                f"{', '.join(beyond)}: the authority may not sign for that. Make a new one that may: athena certs authority, "
                "then athena certs rotate"
            )

    def _sign(self, service: Service, hosts: Collection[str], valid: dt.timedelta, file: Path) -> None:
        from ops.tls.authority import issue

        try:
            made = issue(self._authority(), service, hosts, valid)
        except ValueError as error:
            raise StackError(f"The authority {self.authority} cannot be used: {error}") from error
        write_text(file, made.decode())

    def _authority(self) -> bytes:
        try:
            return self.authority.read_bytes()
        except FileNotFoundError:
            raise StackError(
                f"The authority's key is not in {self.authority}, and something is to be signed. Put it back there for as long "
                "as that takes; where it is lost, move the whole folder away, and all who believe it must believe a new one"
            ) from None


def days() -> int:
    """For how long a service's certificate is good.

    Raises:
        Misuse: `ATHENA_CERT_DAYS` is no number from 1 to 825.
    """
    text = os.environ.get(DAYS) or "90"
    if not text.isdecimal() or not 1 <= int(text) <= MOST_DAYS:
        raise Misuse(f"{DAYS}: {text!r} is not a number of days from 1 to {MOST_DAYS}.")
    return int(text)


def _ends_soon(one: dict[str, Any]) -> bool:
    whole = (one["not_after"] - one["not_before"]).total_seconds()
    return bool(one["days_left"] * 86400 < whole * RENEWED_BELOW)
