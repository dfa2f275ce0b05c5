"""Which addresses are let in: the provider's own, and those that a browser may be sent back to."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

_PRINTABLE = re.compile(r"[!-~]{1,2048}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{1,63}")


def is_issuer(text: str) -> bool:
    """https, or http on this machine; without query and fragment (OpenID Connect Discovery 1.0, 3)."""
    found = _split(text)
    return found is not None and _is_web(found) and "?" not in text


def is_endpoint(text: object, issuer: str) -> bool:
    """Whether discovery may name it: https like the issuer, and on this machine only where the issuer itself is.

    So a provider cannot make the gateway call what runs beside it, or a cloud's metadata service.
    """
    found = _split(text) if isinstance(text, str) else None
    home = urlsplit(issuer)
    if found is None or not _is_web(found):
        return False
    return found.hostname == home.hostname or not _is_local(found.hostname or "") or _is_local(home.hostname or "")


def is_redirect(text: str) -> bool:
    """https, http on this machine, or an app's own scheme, which has a dot (RFC 8252, 7.1)."""
    found = _split(text)
    if found is None:
        return False
    return _is_web(found) or ("." in found.scheme and _SCHEME.fullmatch(found.scheme) is not None)


def _split(text: str) -> SplitResult | None:
    """None for what has blanks, a fragment, a login or a port that is none."""
    if not _PRINTABLE.fullmatch(text) or "#" in text or "\\" in text:
        return None
    try:
        found = urlsplit(text)
        _ = found.port
    except ValueError:
        return None
    return None if "@" in found.netloc else found


def _is_web(found: SplitResult) -> bool:
    host = found.hostname or ""
    return bool(host) and (found.scheme == "https" or (found.scheme == "http" and _is_loopback(host)))


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _is_local(host: str) -> bool:
    """Loopback and link-local, where metadata services are."""
    address = _address(host)
    if address is None:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_link_local or address.is_unspecified


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
