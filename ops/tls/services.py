"""Who has a certificate."""

from __future__ import annotations

from dataclasses import dataclass

#: Every server's certificate names its service below this domain, besides its hosts. No DNS knows it: it says who, not where.
DOMAIN = "athena.internal"


@dataclass(frozen=True, slots=True)
class Service:
    """`name` is the certificate's common name, by which Kafka and PostgreSQL know the service."""

    name: str
    client: bool = True
    server: bool = False


def name_of(service: str) -> str:
    """By which name in its certificate a server is known, at whatever address."""
    return f"{service}.{DOMAIN}"


#: One certificate each. `gateway-https` is what browsers and apps see; `owner` are the tools, `superuser` PostgreSQL's own.
SERVICES = (
    Service("gateway"),
    Service("worker"),
    Service("projector"),
    Service("notifier"),
    Service("owner"),
    Service("superuser"),
    Service("kafka", server=True),
    Service("postgres", client=False, server=True),
    Service("gateway-https", client=False, server=True),
)
#: Those that are reached at hosts.
SERVERS = tuple(service.name for service in SERVICES if service.server)
