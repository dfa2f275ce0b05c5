"""Tells the broker that its certificate files have changed: it reads them anew when a listener's settings are set again.

Incremental, so that what an operator has set besides stays; aiokafka 0.14 knows only the request that replaces all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

from ops.kafka_clients import Kafka
from ops.stack.errors import StackError

REQUEST_TIME_OUT_MS = 20_000
#: `node.id` of the embedded broker.
BROKER = "1"
_SET = 0


class _Response(Response):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "responses",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )


class _Struct(RequestStruct):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                (
                    "configs",
                    Array(("name", String("utf-8")), ("operation", Int8), ("value", String("utf-8"))),
                ),
            ),
        ),
        ("validate_only", Boolean),
    )


class _IncrementalAlterConfigs(Request[_Struct]):  # type: ignore[misc]
    API_KEY = 44

    def __init__(self, configs: dict[str, str]) -> None:
        self._configs = [(name, _SET, value) for name, value in sorted(configs.items())]

    def build(self, request_struct_class: type[_Struct]) -> Any:
        return request_struct_class([(ConfigResourceType.BROKER, BROKER, self._configs)], False)


async def read_anew(kafka: Kafka, folder: Path) -> list[str]:
    """Make every listener of the embedded broker read its files in `folder`; returns their addresses, host:port.

    The lines that the broker opens to itself keep the certificate of its start.

    Raises:
        StackError: the broker refused: what is in the files does not fit.
        KafkaError, OSError, TimeoutError: it did not answer.
    """
    admin = kafka.admin(request_timeout_ms=REQUEST_TIME_OUT_MS)
    try:
        await admin.start()
        listeners = await _listeners(admin)
        configs: dict[str, str] = {}
        for name in listeners:
            prefix = f"listener.name.{name.lower()}.ssl"
            for store, file in (("keystore", "kafka.pem"), ("truststore", "ca.pem")):
                configs |= {f"{prefix}.{store}.type": "PEM", f"{prefix}.{store}.location": str(folder / file)}
        answer = await admin._send_request_to_node(int(BROKER), _IncrementalAlterConfigs(configs))
        for code, message, _, _ in answer.responses:
            if code:
                raise StackError(f"Kafka does not take the new certificates: {message or for_code(code).__name__}")
        return list(listeners.values())
    finally:
        await admin.close()


async def _listeners(admin: AIOKafkaAdminClient) -> dict[str, str]:
    asked = ConfigResource(ConfigResourceType.BROKER, BROKER, {"listeners": ""})
    for answer in await admin.describe_configs([asked]):
        for _, _, _, _, entries in answer.resources:
            for name, value, *_ in entries:
                if name == "listeners":
                    return dict(one.split("://", 1) for one in value.split(","))
    raise StackError("Kafka does not say which listeners it has.")
