"""The one registry of topics: name, policy, key, contents. Everybody takes names from here."""

from __future__ import annotations

from dataclasses import dataclass, field

DAY_MS = 24 * 60 * 60 * 1000

COMMANDS = "athena.commands"
REFERENCE_COMMANDS = "athena.reference-commands"
REFERENCE = "athena.reference"
AUDIT = "athena.audit"
SECURITY = "athena.security"
OUTCOMES = "athena.outcomes"
NOTIFICATIONS = "athena.notifications"
DEAD_LETTERS = "athena.dead-letters"
CHECKPOINTS = "athena.checkpoints"

WORKER_GROUP = "athena-worker"
PROJECTOR_GROUP = "athena-projector"
CHECKPOINTER_GROUP = "athena-checkpointer"

REQUESTS_CHANGELOG = f"{WORKER_GROUP}-requests-changelog"
WINDOWS_CHANGELOG = f"{WORKER_GROUP}-windows-changelog"
CHAINS_CHANGELOG = f"{WORKER_GROUP}-chains-changelog"
SESSIONS_CHANGELOG = f"{WORKER_GROUP}-sessions-changelog"
CATALOG_CHANGELOG = f"{WORKER_GROUP}-catalog-changelog"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """`partitions` None: the installation's number. `config` is what Kafka must answer, as text."""

    name: str
    config: dict[str, str]
    describes: str
    partitions: int | None = None
    tuned: dict[str, str] = field(default_factory=dict)  # set at creation, not verified: performance only

    def partition_count(self, default: int) -> int:
        return self.partitions or default


def _delete(days: int, **more: str) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(days * DAY_MS)} | more


_COMPACT = {"cleanup.policy": "compact", "max.message.bytes": str(4 * 1024 * 1024)}
#: A rules file of 1 MiB, and what is said about it, fits.
_LARGE = {"max.message.bytes": str(4 * 1024 * 1024)}
_FOR_EVER = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
_APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}
#: Small segments and an eager cleaner keep a cold recovery short.
_EAGER = {
    "min.cleanable.dirty.ratio": "0.2",
    "segment.bytes": str(64 * 1024 * 1024),
    "max.compaction.lag.ms": "3600000",
}

TOPICS: tuple[TopicSpec, ...] = (
    TopicSpec(COMMANDS, _delete(14) | _APPEND_TIME, "commands, keyed by request id"),
    TopicSpec(
        REFERENCE_COMMANDS, _delete(14) | _APPEND_TIME | _LARGE, "changes of reference data, one writer", partitions=1
    ),
    TopicSpec(REFERENCE, _COMPACT, "current reference data and every rules version", partitions=1),
    TopicSpec(AUDIT, _FOR_EVER | _LARGE, "audit records, each with its event"),
    TopicSpec(
        CHECKPOINTS, _FOR_EVER | _LARGE, "signed checkpoints of athena.audit, a partition for each of its partitions"
    ),
    TopicSpec(SECURITY, _delete(14) | _APPEND_TIME, "logins, refusals at the door, from gateways"),
    TopicSpec(OUTCOMES, _delete(1) | _APPEND_TIME | _LARGE, "what became of each command"),
    TopicSpec(NOTIFICATIONS, _delete(7), "what is to be sent to whom"),
    TopicSpec(DEAD_LETTERS, _delete(30) | _LARGE, "records that could not be processed"),
    TopicSpec(REQUESTS_CHANGELOG, _COMPACT, "table of requests", tuned=_EAGER),
    TopicSpec(WINDOWS_CHANGELOG, _COMPACT, "table of open rollback windows", tuned=_EAGER),
    TopicSpec(
        CHAINS_CHANGELOG, _COMPACT | _APPEND_TIME, "table of audit chain heads that belong to no request", tuned=_EAGER
    ),
    TopicSpec(SESSIONS_CHANGELOG, _COMPACT, "table of the audit chains of sign-ins", tuned=_EAGER),
    TopicSpec(CATALOG_CHANGELOG, _COMPACT, "table of reference data", partitions=1, tuned=_EAGER),
)
