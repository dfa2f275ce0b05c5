"""When the certificates end that this process shows, and the authority that it believes."""

from __future__ import annotations

from prometheus_client import Gauge

ENDS_NAME = "athena_certificate_ends_timestamp_seconds"
ENDS_HELP = "End of a certificate that this process has loaded (Unix time)"
ENDS = Gauge(ENDS_NAME, ENDS_HELP, ["file"])
