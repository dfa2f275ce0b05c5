"""Other ways from a process to its servers: `ATHENA_KAFKA_VIA` and `ATHENA_POSTGRES_VIA`, `process=host:port` split at blanks.

A process named there is told that address instead of the server's own: a tunnel's, or that of a proxy with which tests break
the line. Kafka's clients go on with whatever address the broker advertises, so the broker gets a further listener for each
process, and advertises the given address on it; whoever listens there forwards to the port kept as `kafka-via-<process>`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ops.stack.errors import StackError
from ops.stack.home import LOOPBACK, Home

KAFKA, POSTGRES = "ATHENA_KAFKA_VIA", "ATHENA_POSTGRES_VIA"
_WAY = re.compile(r"([a-z]+(?:-[0-9]+)?)=([^\s:]+:[0-9]+)")


def ways(variable: str) -> dict[str, str]:
    """Process name -> host:port, as the variable says.

    Raises:
        StackError: it cannot be read.
    """
    found = {}
    for item in os.environ.get(variable, "").split():
        match = _WAY.fullmatch(item)
        if match is None:
            raise StackError(
                f"{variable}: {item!r} is not process=host:port. Write for instance worker=127.0.0.1:19092"
            )
        found[match[1]] = match[2]
    return found


def port_name(process: str) -> str:
    """Under which name the port of a process's own listener is kept."""
    return f"kafka-via-{process}"


def listeners(home: Home, found: Mapping[str, str]) -> str:
    """Broker properties that add a listener for each process; they replace those of `ops/kafka/server.properties`.

    Where the home has TLS, every listener has it, the controller's included.
    """
    if not found and not home.tls:
        return ""
    protocol = "SSL" if home.tls else "PLAINTEXT"
    names = {process: process.upper().replace("-", "_") for process in found}
    own = f"{protocol}://{LOOPBACK}:{home.port('kafka')}"
    bound = [own, f"CONTROLLER://{LOOPBACK}:{home.port('kafka-controller')}"]
    bound += [f"{name}://{LOOPBACK}:{home.port(port_name(process))}" for process, name in names.items()]
    told = [own, *(f"{names[process]}://{address}" for process, address in found.items())]
    protocols = [f"{name}:{protocol}" for name in (protocol, "CONTROLLER", *names.values())]
    return (
        f"listeners={','.join(bound)}\n"
        f"advertised.listeners={','.join(told)}\n"
        f"listener.security.protocol.map={','.join(protocols)}\n"
    )
