"""Every Kafka client is made here, so that none can be made that passes TLS by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.tls.context import Files, client_context

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
    from aiokafka.admin import AIOKafkaAdminClient

# aiokafka and Faust are imported where a client is made: the supervisor knows addresses only, and stays small. Each time
# `ops.kafka_driver` comes first, which mends what ends a client in silence.
# ruff: noqa: PLC0415


@dataclass(frozen=True, slots=True)
class Kafka:
    """A cluster as one service reaches it: `bootstrap` is host:port[,host:port]; `tls` None: a plain line.

    Clients are made, not started; options are aiokafka's. Each raises StackError when the certificates cannot be used.
    """

    bootstrap: str
    tls: Files | None = None

    def __str__(self) -> str:
        return self.bootstrap

    def consumer(self, *subscribed: str, **options: Any) -> AIOKafkaConsumer:
        """A consumer. A poll raises KafkaError too when it must be made anew."""
        from ops.kafka_driver import Consumer

        return Consumer(*subscribed, **self._line(), **options)

    def producer(self, **options: Any) -> AIOKafkaProducer:
        """A producer."""
        from ops.kafka_driver import AIOKafkaProducer

        return AIOKafkaProducer(**self._line(), **options)

    def admin(self, **options: Any) -> AIOKafkaAdminClient:
        """An administrator."""
        from ops.kafka_driver import AIOKafkaAdminClient

        return AIOKafkaAdminClient(**self._line(), **options)

    def faust_options(self) -> Mapping[str, Any]:
        """What a Faust app is told: its brokers, and the certificates."""
        from faust.auth import SSLCredentials
        from yarl import URL

        import ops.kafka_driver  # noqa: F401

        brokers = [URL(f"kafka://{address}") for address in self.bootstrap.split(",")]
        if self.tls is None:
            return {"broker": brokers}
        return {"broker": brokers, "broker_credentials": SSLCredentials(client_context(self.tls, "kafka"))}

    def _line(self) -> dict[str, Any]:
        if self.tls is None:
            return {"bootstrap_servers": self.bootstrap}
        return {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": "SSL",
            "ssl_context": client_context(self.tls, "kafka"),
        }
