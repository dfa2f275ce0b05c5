"""Under which address clients know this gateway: what comes in a request's own headers proves nothing."""

from __future__ import annotations

from urllib.parse import urlsplit

from ops.settings import Settings
from ops.stack.errors import WrongSettings

_PORTS = {"http": 80, "https": 443}
_LOOPBACK = ("127.0.0.1", "localhost")


class PublicUrl:
    """`url` as set, without a slash at its end; else the address that the gateway listens on, and its scheme."""

    def __init__(self, url: str, host: str, port: int, scheme: str = "http") -> None:
        """Raises SystemExit for what is no base URL."""
        self.url = (url or f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}").rstrip("/")
        parts = _parts(self.url)
        if parts is None or "?" in self.url or "#" in self.url or "@" in self.url:
            raise WrongSettings(f"ATHENA_PUBLIC_URL must be such as https://budget.example.com; found {url!r}.")
        self.secure = parts[0] == "https"
        self._prefixes = [parts]
        if not url and host in _LOOPBACK:
            self._prefixes = [(scheme, name, port, "") for name in _LOOPBACK]

    @classmethod
    def of(cls, settings: Settings) -> PublicUrl:
        """As the settings have it."""
        scheme = "http" if settings.gateway_tls_cert is None else "https"
        return cls(settings.public_url, settings.gateway_host, settings.gateway_port, scheme)

    def names(self, uri: str, path: str) -> bool:
        """Whether `uri` is this gateway's `path` (as it came in, percent-encoded); query and fragment are passed over."""
        parts = _parts(uri.partition("#")[0].partition("?")[0])
        return parts is not None and any(
            parts == (scheme, host, port, prefix + path) for scheme, host, port, prefix in self._prefixes
        )


def _parts(uri: str) -> tuple[str, str, int, str] | None:
    """Scheme, host, port and path; the default port is named, names are in lower case (RFC 3986, 6.2)."""
    try:
        found = urlsplit(uri)
        port = found.port or _PORTS[found.scheme]
    except (ValueError, KeyError):
        return None
    if not found.hostname or found.username is not None or found.password is not None:
        return None
    return found.scheme, found.hostname, port, found.path
