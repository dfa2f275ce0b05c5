"""Whether something answers: a TCP port, an HTTP address."""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import Literal
from urllib.parse import urlsplit


def status_of(url: str, seconds: float = 2.0, trust: ssl.SSLContext | Literal[True] = True) -> int | None:
    """The HTTP status that the URL answers with within `seconds`; None when nothing answers that is believed."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
    if parts.scheme == "https":
        context = None if trust is True else trust
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=seconds, context=context)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def gauge_of(url: str, name: str, seconds: float = 2.0) -> float | None:
    """The value of a gauge without labels on a Prometheus endpoint; None when it is not there."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
    try:
        connection.request("GET", parts.path or "/")
        for line in connection.getresponse().read().decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return None


def listens(address: str, seconds: float = 1.0) -> bool:
    """Whether something accepts connections at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=seconds):
            return True
    except OSError:
        return False
