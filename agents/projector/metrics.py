"""What the projector tells Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import start_http_server
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from ops.secrets import metrics as secrets
from ops.tls.metrics import ENDS

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)
REGISTRY.register(ENDS)
for collector in secrets.ALL:
    REGISTRY.register(collector)

STOPPED = Gauge("athena_projector_stopped", "1 when it stopped at a record or gap it must not skip", registry=REGISTRY)
READY = Gauge(
    "athena_projector_ready", "1 when it reads and writes, and is less than the lag limit behind", registry=REGISTRY
)
DATABASE_UP = Gauge("athena_projector_database_up", "1 when PostgreSQL answered last time", registry=REGISTRY)
LAG = Gauge("athena_projector_lag_records", "Offsets of athena.audit not yet applied", ["partition"], registry=REGISTRY)
NEXT_OFFSET = Gauge(
    "athena_projector_next_offset", "Next offset of athena.audit to apply", ["partition"], registry=REGISTRY
)
BATCHES = Counter("athena_projector_batches", "Batches committed", registry=REGISTRY)
RECORDS = Counter("athena_projector_records", "Audit records read from committed batches", registry=REGISTRY)
RESYNCS = Counter("athena_projector_resyncs", "Times it went to the offsets that PostgreSQL names", registry=REGISTRY)
FAILURES = Counter("athena_projector_database_failures", "Attempts that PostgreSQL did not answer", registry=REGISTRY)
SECONDS = Histogram(
    "athena_projector_batch_seconds",
    "From records read to committed",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
    registry=REGISTRY,
)
APPLIED_AT = Gauge(
    "athena_projector_last_applied_timestamp_seconds", "When the last batch was committed", registry=REGISTRY
)
DELAY = Gauge(
    "athena_projector_delay_seconds",
    "Age of the newest record of the last batch when it was committed",
    registry=REGISTRY,
)


def serve(host: str, port: int) -> None:
    """Answer `/metrics` on a thread."""
    start_http_server(port, addr=host, registry=REGISTRY)
