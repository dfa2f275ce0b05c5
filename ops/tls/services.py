"""Who has a certificate."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Service:
    """`name` is the certificate's common name, by which Kafka and PostgreSQL know the service."""

    name: str
    client: bool = True
    server: bool = False


#: One certificate each. `gateway-https` is what browsers and apps see; `owner` are the tools, `superuser` PostgreSQL's own.
SERVICES = (
    Service("gateway"),
    Service("worker"),
    Service("projector"),
    Service("notifier", server=True),
    Service("owner"),
    Service("superuser"),
    Service("kafka", server=True),
    Service("postgres", client=False, server=True),
    Service("gateway-https", client=False, server=True),
)
