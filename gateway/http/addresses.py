"""Who is at the other end: the connection's peer, or the client that a trusted proxy names."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

from ops.stack.errors import WrongSettings

RawHeaders = Iterable[tuple[bytes, bytes]]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

UNKNOWN = "unknown"
#: A chain of proxies is shorter than this; what a client writes before it is not looked at.
MAX_HOPS = 20
#: IPv6 hands each customer a network of this size, from which they choose addresses at will.
IPV6_PREFIX = 64
#: An IPv6 address in full with zone, brackets, port and blanks has less; what is longer is not worth remembering.
_LONGEST = 100
_PORT = re.compile(r":[0-9]{1,5}")
# RFC 7239, 4: pairs of a token and a token or a quoted string.
_FOR = re.compile(r'(?:^|;)\s*for=(?:"([^"\\]*)"|([^;",\s]+))\s*(?=;|$)', re.IGNORECASE)


def normal(text: str) -> str | None:
    """The one spelling of an IP address, with or without port; None for what is none. IPv4 within IPv6 is IPv4."""
    return _normal(text) if len(text) <= _LONGEST else None


@lru_cache(maxsize=20_000)
def _normal(text: str) -> str | None:
    bare = text.strip()
    if bare.startswith("["):
        bare, bracket, port = bare[1:].partition("]")
        if not bracket or (port and not _PORT.fullmatch(port)):
            return None
    elif bare.count(":") == 1:
        bare, _, port = bare.partition(":")
        if not _PORT.fullmatch(":" + port):
            return None
    try:
        found = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(found)


@lru_cache(maxsize=20_000)
def network_of(address: str) -> str:
    """What counts as one address: an IPv4 address, the /64 of an IPv6 address; what is none stays as it is."""
    found = normal(address)
    if found is None or ":" not in found:
        return found or address
    return str(ipaddress.ip_network(f"{found}/{IPV6_PREFIX}", strict=False))


class Proxies:
    """The configured proxies, and the one header that they write; no other header of theirs is believed.

    Raises SystemExit for what is no list of addresses and networks.
    """

    def __init__(self, networks: str, header: str) -> None:
        self._networks: list[Network] = []
        for text in networks.replace(",", " ").split():
            try:
                self._networks.append(ipaddress.ip_network(text))
            except ValueError as error:
                raise WrongSettings(
                    f"ATHENA_TRUSTED_PROXIES: {text!r} is no address or network ({error}). Write for instance 10.0.0.0/8"
                ) from None
        self._header = header.encode()
        self._trusted = lru_cache(maxsize=10_000)(self._is_trusted)

    def trusts(self, address: str) -> bool:
        """Whether the address is that of a configured proxy."""
        return bool(self._networks) and self._trusted(address)

    def client_of(self, peer: str, headers: RawHeaders) -> str:
        """The client's address: the last hop that is no trusted proxy, as far as readable addresses lead."""
        address = peer
        if not self.trusts(address):
            return address
        for hop in reversed(self._hops(headers)[-MAX_HOPS:]):
            found = normal(hop)
            if found is None:
                break
            address = found
            if not self.trusts(address):
                break
        return address

    def _hops(self, headers: RawHeaders) -> list[str]:
        lines = [value.decode("latin-1") for name, value in headers if name == self._header]
        hops = [hop for line in lines for hop in line.split(",")]
        if self._header == b"forwarded":
            return [_forwarded_for(hop) for hop in hops]
        return hops

    def _is_trusted(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._networks)


def _forwarded_for(element: str) -> str:
    match = _FOR.search(element)
    return "" if match is None else match[1] or match[2] or ""
