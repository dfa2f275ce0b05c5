"""What the checkpointer tells Prometheus, beside the projector whose process it shares."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from agents.projector.metrics import REGISTRY

SIZE = Gauge(
    "athena_checkpoint_size", "Records of athena.audit under the last checkpoint", ["partition"], registry=REGISTRY
)
SIGNED_AT = Gauge(
    "athena_checkpoint_timestamp_seconds", "When the last checkpoint was signed", ["partition"], registry=REGISTRY
)
WAITING = Gauge(
    "athena_checkpoint_waiting_seconds",
    "How long the oldest record read has waited for a checkpoint; 0 when none waits",
    ["partition"],
    registry=REGISTRY,
)
FAILING = Gauge(
    "athena_checkpointer_failing_seconds",
    "For how long it has begun anew without signing anything; 0 while it works",
    registry=REGISTRY,
)
STOPPED = Gauge(
    "athena_checkpointer_stopped",
    "1 when the log or its checkpoints contradict what was signed, and nothing more is signed for it: alert",
    ["partition"],
    registry=REGISTRY,
)
FAILURES = Counter(
    "athena_checkpointer_failures",
    "Times it had to begin anew, Kafka being away or another one having taken over",
    registry=REGISTRY,
)
