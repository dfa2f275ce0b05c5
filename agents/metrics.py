"""What the worker tells Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

COMMANDS = Counter("athena_worker_commands_total", "Commands by type and result", ["type", "result"])
BATCH_RECORDS = Histogram(
    "athena_worker_batch_records", "Records decided together", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500)
)
BATCH_SECONDS = Histogram(
    "athena_worker_batch_seconds",
    "From taking a batch to its last acknowledgement",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
)
PARTITIONS = Gauge("athena_worker_partitions", "Partitions this worker decides for")
READY = Gauge("athena_worker_ready", "1 when tables are recovered, reference data read and the clock is sane")
LAG = Gauge("athena_worker_lag_records", "Records appended but not yet committed", ["topic"])
CLOCK_SKEW = Gauge("athena_worker_clock_skew_seconds", "Difference between the broker's clock and ours")
WINDOWS_DUE = Counter("athena_worker_windows_due_total", "CloseWindow, Remind and Escalate commands sent")
REASSIGNED = Counter("athena_worker_reassigns_sent_total", "Reassign commands sent because an approver had left")
UNSTAFFED = Counter(
    "athena_worker_unstaffed_total", "Levels left with their old pool because no new one suffices: alert"
)
REFERENCE_OFFSET = Gauge("athena_worker_reference_offset", "Next offset of athena.reference to be applied")
RESTORED = Counter("athena_worker_restored_records_total", "Changelog records read into the local tables")
RESTORE_LEFT = Gauge(
    "athena_worker_restore_left_offsets", "Changelog offsets still to be read before anything is decided"
)
MISDATED = Counter(
    "athena_worker_misdated_total", "Records set aside because a wrong clock had stamped them: replay, alert", ["topic"]
)
PARTITION_LAG = Gauge(
    "athena_worker_partition_lag_records", "Records of a shard not yet committed", ["topic", "partition"]
)
CLUSTER_REACHABLE = Gauge("athena_worker_kafka_up", "1 when the broker answered the last question of the host")
RULES_FINDINGS = Gauge(
    "athena_rules_findings",
    "What the check says of the current rules file for the organisation as it is now, at the worker that has the reference data",
    ["severity"],
)
RULES_VERSION = Gauge("athena_worker_rules_version", "Version of the rules file that this worker routes by")
