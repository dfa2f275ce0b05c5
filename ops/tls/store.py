"""The certificates of a home, in `certs/`: keys for its user alone, `ca.pem` for everybody."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.stack.errors import StackError
from ops.stack.records import write_text
from ops.tls.context import Files
from ops.tls.services import SERVICES, Service

# `ops.tls.authority` is imported where it makes or reads certificates: a start that finds them all needs none of it.
# ruff: noqa: PLC0415

DAYS = "ATHENA_CERT_DAYS"
HOSTS = "ATHENA_CERT_HOSTS"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
MOST_DAYS = 825
#: `athena up` makes a certificate anew that has less than this share of its time left.
RENEWED_BELOW = 1 / 3


_TOOLS = """security.protocol=SSL
ssl.keystore.type=PEM
ssl.keystore.location={owner}
ssl.truststore.type=PEM
ssl.truststore.location={ca}
"""


@dataclass(frozen=True, slots=True)
class Certificates:
    """The folder; nothing is made until `create_missing`."""

    folder: Path

    @property
    def ca(self) -> Path:
        """The authorities that services believe, in PEM."""
        return self.folder / "ca.pem"

    @property
    def authority(self) -> Path:
        """The authority's private key and certificate."""
        return self.folder / "authority.pem"

    def file(self, service: str) -> Path:
        """A service's private key and certificate."""
        return self.folder / f"{service}.pem"

    @property
    def tools(self) -> Path:
        """For Kafka's own tools: `--command-config FILE`."""
        return self.folder / "tools.properties"

    def files(self, service: str) -> Files:
        """What a service shows and whom it believes."""
        return Files(self.ca, self.file(service), self.file(service))

    def create_missing(self) -> list[str]:
        """Make the authority and the certificates that are missing; returns the names of those made.

        Raises:
            StackError: `ATHENA_CERT_DAYS` is wrong, or the authority cannot be read.
        """
        return self._issue([service.name for service in SERVICES if not self.file(service.name).exists()])

    def renew_ending(self) -> list[str]:
        """Make anew what ends soon, see `RENEWED_BELOW`; returns the names. Raises as `create_missing`."""
        ending = []
        for one in self.listing():
            whole = (one["not_after"] - one["not_before"]).total_seconds()
            if one["days_left"] * 86400 < whole * RENEWED_BELOW and one["name"] != "authority":
                ending.append(one["name"])
        return self._issue(ending)

    def rotate(self) -> list[str]:
        """Make every service's certificate anew, under the same authority; returns their names. Raises as `create_missing`."""
        return self._issue([service.name for service in SERVICES])

    def new_authority(self) -> None:
        """Replace the authority. Both are believed from now on; certificates of the former one stay good.

        Raises:
            StackError: a service still has a certificate of the authority before, which would be believed no longer.
        """
        from ops.tls.authority import certificates_of, new_authority

        behind = [one["name"] for one in self.listing() if not one["current"]]
        if behind:
            raise StackError(f"{', '.join(behind)}: certificates of a former authority. First: athena certs rotate")
        former = certificates_of(self.authority.read_bytes()) if self.authority.exists() else b""
        made = new_authority(f"Athena Budget authority {os.urandom(4).hex()}")
        write_text(self.ca, (certificates_of(made) + former).decode(), 0o644)
        write_text(self.authority, made.decode())

    @contextlib.contextmanager
    def visitor(self) -> Iterator[Files]:
        """A certificate of the authority for a moment, of nobody who may do anything."""
        from ops.tls.authority import issue

        file = self.folder / f"visitor-{os.getpid()}.pem"
        write_text(file, issue(self.authority.read_bytes(), Service("visitor"), (), dt.timedelta(hours=1)).decode())
        try:
            yield Files(self.ca, file, file)
        finally:
            file.unlink(missing_ok=True)

    def listing(self) -> list[dict[str, Any]]:
        """Name, serial number (hex), hosts, begin, end (datetimes), days left and whether the current authority signed it, of
        the authority and each certificate.

        Raises:
            StackError: a file is there and cannot be read.
        """
        from cryptography import x509

        from ops.tls.authority import hosts_in

        found: list[dict[str, Any]] = []
        now = dt.datetime.now(dt.UTC)
        issuer = None
        for name in ("authority", *(service.name for service in SERVICES)):
            file = self.file(name)
            if not file.exists():
                continue
            try:
                one = x509.load_pem_x509_certificate(file.read_bytes())
            except (OSError, ValueError) as error:
                raise StackError(
                    f"The certificate {file} cannot be read: {error}. Make it anew: athena certs rotate"
                ) from error
            issuer = issuer or one.subject
            found.append(
                {
                    "name": name,
                    "serial": f"{one.serial_number:x}",
                    "hosts": hosts_in(one),
                    "not_before": one.not_valid_before_utc,
                    "not_after": one.not_valid_after_utc,
                    "days_left": round((one.not_valid_after_utc - now).total_seconds() / 86400, 2),
                    "current": one.issuer == issuer,
                }
            )
        return found

    def ends_soonest(self) -> dict[str, Any] | None:
        """`name` and `days_left` of the service's certificate that ends first; None where there is none. Raises as `listing`."""
        left = [(one["days_left"], one["name"]) for one in self.listing() if one["name"] != "authority"]
        if not left:
            return None
        days_left, name = min(left)
        return {"name": name, "days_left": days_left}

    def _issue(self, names: list[str]) -> list[str]:
        if not names:
            return names
        from ops.tls.authority import issue

        if not self.folder.is_dir():
            self.folder.mkdir(parents=True)
            self.folder.chmod(0o755)
        if not self.authority.exists():
            self.new_authority()
        write_text(self.tools, _TOOLS.format(owner=self.file("owner"), ca=self.ca))
        authority, valid, hosts = self.authority.read_bytes(), dt.timedelta(days=days()), hosts_of_servers()
        for service in SERVICES:
            if service.name in names:
                try:
                    made = issue(authority, service, hosts, valid)
                except ValueError as error:
                    raise StackError(f"The authority {self.authority} cannot be used: {error}") from error
                write_text(self.file(service.name), made.decode())
        return names


def days() -> int:
    """For how long a service's certificate is good.

    Raises:
        StackError: `ATHENA_CERT_DAYS` is no number from 1 to 825.
    """
    text = os.environ.get(DAYS) or "90"
    if not text.isdecimal() or not 1 <= int(text) <= MOST_DAYS:
        raise StackError(f"{DAYS}: {text!r} is not a number of days from 1 to {MOST_DAYS}.")
    return int(text)


def hosts_of_servers() -> tuple[str, ...]:
    """Under which hosts and addresses servers are reached."""
    return (*LOOPBACK_NAMES, *os.environ.get(HOSTS, "").split())
