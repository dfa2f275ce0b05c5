"""Who may do what in Kafka: the whole list. Whatever is not in it is refused; `kafka` (the broker) and `owner` (the tools) may all.

`python -m ops.kafka_acls` prints the table that stands in `docs/operate.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest

from ops.kafka_clients import Kafka
from ops.stack.errors import StackError
from schemas import topics

REQUEST_TIME_OUT_MS = 20_000


class Kind(IntEnum):
    """Kafka's numbers of resource types."""

    TOPIC = 2
    GROUP = 3
    TRANSACTIONAL_ID = 5


class May(IntEnum):
    """Kafka's numbers of operations. READ and WRITE imply DESCRIBE."""

    READ = 3
    WRITE = 4
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10


_ANY, _ALLOW = 1, 3
_LITERAL, _PREFIXED = 3, 4


@dataclass(frozen=True, slots=True)
class Grant:
    """One line of Kafka's list."""

    service: str
    may: May
    kind: Kind
    name: str
    prefixed: bool = False

    def wire(self) -> tuple[int, str, int, str, str, int, int]:
        """As Kafka has it."""
        pattern = _PREFIXED if self.prefixed else _LITERAL
        return (self.kind, self.name, pattern, f"User:{self.service}", "*", self.may, _ALLOW)


#: Services without a line may do nothing at all. The notifier gets its lines with its code.
SERVICES = ("gateway", "worker", "projector", "notifier", "superuser")

_CHANGELOGS = (
    topics.REQUESTS_CHANGELOG,
    topics.WINDOWS_CHANGELOG,
    topics.CHAINS_CHANGELOG,
    topics.SESSIONS_CHANGELOG,
    topics.CATALOG_CHANGELOG,
)
_READS: Mapping[str, tuple[str, ...]] = {
    # The last two are for GET /audit/verify.
    "gateway": (topics.OUTCOMES, topics.REFERENCE, topics.AUDIT, topics.CHECKPOINTS),
    "worker": (topics.COMMANDS, topics.REFERENCE_COMMANDS, topics.SECURITY, topics.REFERENCE, *_CHANGELOGS),
    "projector": (topics.AUDIT, topics.CHECKPOINTS),
}
_WRITES: Mapping[str, tuple[str, ...]] = {
    "gateway": (topics.COMMANDS, topics.REFERENCE_COMMANDS, topics.SECURITY),
    "worker": (
        topics.COMMANDS,  # what the system commands: CloseWindow, Remind, Escalate
        topics.REFERENCE,
        topics.AUDIT,
        topics.OUTCOMES,
        topics.NOTIFICATIONS,
        topics.DEAD_LETTERS,
        *_CHANGELOGS,
    ),
    "projector": (topics.CHECKPOINTS,),
}
_GROUPS: Mapping[str, tuple[str, ...]] = {
    "worker": (topics.WORKER_GROUP,),
    "projector": (topics.PROJECTOR_GROUP, topics.CHECKPOINTER_GROUP),
}
#: The fence: one identity per shard, `<name><partition>`, see `agents.fencing`.
_IDENTITIES: Mapping[str, tuple[str, ...]] = {
    "worker": tuple(f"{topic}-" for topic in (topics.COMMANDS, topics.REFERENCE_COMMANDS, topics.SECURITY)),
    "projector": (f"{topics.CHECKPOINTER_GROUP}-",),
}
#: Look at every topic before they start: `ops.topics.verify`.
_VERIFIERS = ("worker", "projector")
_OURS = "athena"


def _grants() -> Iterator[Grant]:
    for service, names in _READS.items():
        yield from (Grant(service, May.READ, Kind.TOPIC, name) for name in names)
    for service, names in _WRITES.items():
        yield from (Grant(service, May.WRITE, Kind.TOPIC, name) for name in names)
    for service, names in _GROUPS.items():
        yield from (Grant(service, May.READ, Kind.GROUP, name) for name in names)
    for service, names in _IDENTITIES.items():
        for name in names:
            yield Grant(service, May.WRITE, Kind.TRANSACTIONAL_ID, name, prefixed=True)
    for service in _VERIFIERS:
        yield Grant(service, May.DESCRIBE, Kind.TOPIC, _OURS, prefixed=True)
        yield Grant(service, May.DESCRIBE_CONFIGS, Kind.TOPIC, _OURS, prefixed=True)
    # How far the workers are behind, for the backpressure.
    yield Grant("gateway", May.DESCRIBE, Kind.GROUP, topics.WORKER_GROUP)


GRANTS: tuple[Grant, ...] = tuple(_grants())


async def apply(kafka: Kafka) -> None:
    """Bring Kafka's list to what stands here; lines of principals that are no service of ours stay.

    Raises:
        StackError: Kafka refused.
        KafkaError, OSError, TimeoutError: it did not answer.
    """
    admin = kafka.admin(request_timeout_ms=REQUEST_TIME_OUT_MS)
    try:
        await admin.start()
        wanted = {grant.wire() for grant in GRANTS}
        ours = {f"User:{service}" for service in SERVICES}
        found = {line for line in await _found(admin) if line[3] in ours}
        # First what is missing: a service that runs loses nothing for a moment.
        await _send(admin, _Create(wanted - found))
        await _send(admin, _Delete(found - wanted))
    finally:
        await admin.close()


async def _found(admin: AIOKafkaAdminClient) -> set[tuple[Any, ...]]:
    everything = DescribeAclsRequest(_ANY, None, _ANY, None, None, _ANY, _ANY)
    answer = await admin._send_request(everything)
    _check(answer.error_code, answer.error_message)
    return {
        (kind, name, pattern, principal, host, operation, permission)
        for kind, name, pattern, lines in answer.resources
        for principal, host, operation, permission in lines
    }


async def _send(admin: AIOKafkaAdminClient, request: _Create | _Delete) -> None:
    if request.lines:
        answer = await admin._send_request(request)
        for one in answer.creation_responses if isinstance(request, _Create) else answer.filter_responses:
            _check(one[0], one[1])


def _check(code: int, message: str | None) -> None:
    if code:
        raise StackError(f"Kafka refused to change who may do what: {message or for_code(code).__name__}")


class _Create(CreateAclsRequest):  # type: ignore[misc]
    """aiokafka's own takes one line at a time."""

    def __init__(self, lines: Iterable[tuple[Any, ...]]) -> None:
        self.lines = sorted(lines)

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(self.lines)


class _Delete(DeleteAclsRequest):  # type: ignore[misc]
    def __init__(self, lines: Iterable[tuple[Any, ...]]) -> None:
        self.lines = sorted(lines)

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(self.lines)


def table() -> str:
    """The list as a table in Markdown: one line for each service and operation."""
    lines = ["| service | may | on |", "|---|---|---|"]
    for service in SERVICES:
        for kind in Kind:
            for may in May:
                names = [
                    f"`{grant.name}{'*' if grant.prefixed else ''}`"
                    for grant in GRANTS
                    if (grant.service, grant.kind, grant.may) == (service, kind, may)
                ]
                if names:
                    what = may.name.lower().replace("_", " ")
                    lines.append(f"| {service} | {what} | {kind.name.lower().replace('_', ' ')} {', '.join(names)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())  # noqa: T201 - what it is for
