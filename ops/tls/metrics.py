"""When the certificates end that this process shows."""

from __future__ import annotations

from prometheus_client import Gauge

ENDS = Gauge(
    "athena_certificate_ends_timestamp_seconds",
    "End of a certificate that this process has loaded (Unix time)",
    ["file"],
)
