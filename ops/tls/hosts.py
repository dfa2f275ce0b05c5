"""Under which hosts and addresses the servers are reached: `ATHENA_CERT_HOSTS`, kept beside the certificates.

`budget.example.com` or `192.0.2.7` is the gateway's; `kafka=broker.example.com` and `postgres=…` are those of the servers behind
it, which nobody outside is to believe to be the gateway.
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path

from ops.stack.errors import Misuse
from ops.stack.records import write_text
from ops.tls.services import DOMAIN, SERVERS, name_of

HOSTS = "ATHENA_CERT_HOSTS"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
PUBLIC = "gateway-https"
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_LONGEST = 253
_MOST = 100


class Hosts:
    """The hosts of each server; those of a former call, where the variable is not set.

    Raises:
        Misuse: one is no host.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "hosts"
        self._items = [_item(one) for one in self._said()]
        if len(self._items) > _MOST:
            raise Misuse(f"{HOSTS}: {len(self._items)} hosts; {_MOST} at most.")

    def of(self, service: str) -> tuple[str, ...]:
        """What a server's certificate is good for: its own name first."""
        more = (host for owner, host in self._items if owner == service)
        return tuple(dict.fromkeys((name_of(service), *LOOPBACK_NAMES, *more)))

    @property
    def every(self) -> tuple[str, ...]:
        """All that an authority must be able to sign for."""
        return tuple(dict.fromkeys((DOMAIN, *LOOPBACK_NAMES, *(host for _, host in self._items))))

    def keep(self) -> None:
        """Remember them for later calls."""
        lines = [host if owner == PUBLIC else f"{owner}={host}" for owner, host in self._items]
        write_text(self._file, "".join(f"{line}\n" for line in lines), 0o644)

    def _said(self) -> list[str]:
        if said := os.environ.get(HOSTS, "").split():
            return said
        try:
            return self._file.read_text(encoding="utf-8").split()
        except FileNotFoundError:
            return self._shown()

    def _shown(self) -> list[str]:
        """Those of the gateway's certificate, in a home of a release that kept none."""
        from cryptography import x509  # noqa: PLC0415 - once in a home's life

        from ops.tls.authority import hosts_in  # noqa: PLC0415

        try:
            shown = hosts_in(x509.load_pem_x509_certificate((self._folder / f"{PUBLIC}.pem").read_bytes()))
        except (FileNotFoundError, ValueError):
            return []
        return [host for host in shown if host not in LOOPBACK_NAMES and host != name_of(PUBLIC)]


def _item(text: str) -> tuple[str, str]:
    owner, equals, host = text.rpartition("=")
    owner = owner if equals else PUBLIC
    if owner not in SERVERS:
        raise Misuse(f"{HOSTS}: {text!r}: there is no server {owner!r}. There are {', '.join(SERVERS)}.")
    return owner, _host(text, host)


def _host(text: str, host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not host.isascii():
        raise Misuse(
            f"{HOSTS}: {text!r}: certificates hold ASCII alone. Write its form for DNS, such as xn--mnchen-3ya.de"
        )
    name = host.lower()
    labels = name.split(".")
    if len(name) > _LONGEST or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdecimal():
        raise Misuse(
            f"{HOSTS}: {text!r} is no host. Write names and addresses, split at blanks, without scheme, port, path or "
            "wildcard: budget.example.com 192.0.2.7 kafka=broker.example.com"
        )
    if name == DOMAIN or name.endswith(f".{DOMAIN}"):
        raise Misuse(f"{HOSTS}: {text!r}: names below {DOMAIN} are the services' own.")
    return name
