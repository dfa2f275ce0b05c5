"""How many connections there may be, and how long each may take for what."""

from __future__ import annotations

import resource
from collections import Counter
from enum import Enum

import structlog

from gateway import metrics
from gateway.http.addresses import Proxies, network_of
from ops.settings import Settings

log = structlog.get_logger(__name__)

#: Beyond the limit, for those who watch this process; and file descriptors for all else that it opens.
SPARE_CONNECTIONS = 64
_OTHER_FILES = 256


class Verdict(Enum):
    """What becomes of a new connection."""

    OPEN = "open"
    CROWDED = "crowded"  # answered 503, but for probes
    TOO_MANY = "address"  # that address has its share
    SHUT = "full"


class Door:
    """Counts the connections of this process, per address too (IPv6: per /64 network). All of them share it."""

    def __init__(self, settings: Settings, proxies: Proxies) -> None:
        self.most = max(1, min(settings.connections, _files() - _OTHER_FILES - SPARE_CONNECTIONS))
        self.most_per_address = settings.connections_per_address
        self.head_seconds = settings.head_seconds
        self.body_seconds = settings.body_seconds
        self.answer_seconds = settings.answer_seconds
        self.idle_seconds = settings.idle_seconds
        self._proxies = proxies
        self._open = 0
        self._by_address: Counter[str] = Counter()
        metrics.CONNECTIONS.set_function(lambda: self._open)
        if self.most < settings.connections:
            log.warning(
                "fewer connections than configured, because of the limit on open files; raise it (ulimit -n)",
                configured=settings.connections,
                possible=self.most,
            )

    @property
    def sweep_seconds(self) -> float:
        """How often connections are looked at, so that none is much longer than it may."""
        return max(
            0.05, min(1.0, min(self.head_seconds, self.body_seconds, self.answer_seconds, self.idle_seconds) / 4)
        )

    def enter(self, address: str) -> Verdict:
        """Count a new connection; `leave` must follow, whatever the verdict."""
        self._open += 1
        key = network_of(address)
        self._by_address[key] += 1
        if self._open > self.most + SPARE_CONNECTIONS:
            return Verdict.SHUT
        if self._by_address[key] > self.most_per_address and not self._proxies.trusts(address):
            return Verdict.TOO_MANY
        return Verdict.CROWDED if self._open > self.most else Verdict.OPEN

    def leave(self, address: str) -> None:
        """A connection has ended."""
        self._open -= 1
        key = network_of(address)
        self._by_address[key] -= 1
        if not self._by_address[key]:
            del self._by_address[key]


def _files() -> int:
    """Files that this process may open, raised as far as it may be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 1_048_576
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
