"""Commands written straight into Kafka, one per cell, and what became of each."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, get_args

import orjson
from aiokafka import TopicPartition

from ops.kafka_clients import Kafka
from ops.log_reader import partitions_of
from ops.seed import rules_text
from schemas import topics
from schemas.commands import COMMANDS, CommandBase
from schemas.reference import REFERENCE_COMMANDS, PutEntity, RemoveEntity
from tests.access_matrix.calls import MISSING
from tests.access_matrix.house import FIRST_APPROVER, OWNERS, PEOPLE, House
from tests.access_matrix.table import Line
from tests.client import ROUTE_ALL, submission

SECONDS = 60.0
WORDS = {
    "actor": "actor-not-allowed",
    "none": "not-found",
    "unseen": "not-visible",
    "pool": "not-an-approver",
    "self": "self-approval",
    "yours": "not-your-request",
    "theirs": "not-your-decision",
}
_MORE: dict[str, dict[str, Any]] = {
    "Approve": {},
    "Reject": {"comment": "no"},
    "Rollback": {},
    "Withdraw": {},
    "Comment": {"text": "?"},
    "Reassign": {"level": "L1"},
    "CloseWindow": {"decision_version": 1},
}


def kinds() -> set[tuple[str, str]]:
    """Every command that there is; those on reference data with each kind of it."""
    plain = {(each.__name__, "") for each in CommandBase.__subclasses__()}
    bodies = {body.model_fields["kind"].default for body in get_args(PutEntity.model_fields["body"].annotation)}
    removable = set(get_args(RemoveEntity.model_fields["kind"].annotation))
    return plain | {("PutEntity", kind) for kind in bodies} | {("RemoveEntity", kind) for kind in removable}


async def try_all(house: House, lines: list[Line]) -> list[str]:
    """Send a command for every cell, wait for all outcomes; what is not as expected."""
    wanted: dict[str, tuple[str, str]] = {}
    sent: list[tuple[str, bytes, bytes]] = []
    for line in lines:
        for who, expected in line.cells.items():
            topic, key, body = _command(house, line, PEOPLE[who])
            wanted[body["command_id"]] = (f"{line} as {who}", WORDS.get(expected, expected))
            sent.append((topic, key.encode(), orjson.dumps(body)))
    found = await _outcomes(house.stack.kafka, sent, set(wanted))
    return [
        f"{what}: expected {expected}, got {found.get(command_id, 'no outcome')}"
        for command_id, (what, expected) in wanted.items()
        if found.get(command_id) != expected
    ]


def _command(house: House, line: Line, actor: str) -> tuple[str, str, dict[str, Any]]:
    name = line.what[0]
    facts = {"command_id": str(uuid.uuid4()), "actor_id": actor, "correlation_id": str(uuid.uuid4())}
    if "Entity" in name:
        return _reference(name, line.object, facts)
    if name == "SubmitRequest":
        request_id = str(uuid.uuid4())
        body = facts | submission(**ROUTE_ALL) | {"request_id": request_id, "type": name}
    else:
        request_id = MISSING if line.object == "missing" else _fresh(house, name, line.object)
        body = facts | _MORE[name] | {"request_id": request_id, "type": name}
    COMMANDS.validate_python(body)
    return topics.COMMANDS, request_id, body


def _fresh(house: House, command: str, name: str) -> str:
    assert name in OWNERS
    request = house.file(name)
    if command == "Rollback":
        house.api.approved(PEOPLE[FIRST_APPROVER[name]], request)
    return str(request["id"])


def _reference(name: str, kind: str, facts: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    id_ = f"matrix-{uuid.uuid4().hex[:12]}"
    bodies: dict[str, dict[str, Any]] = {
        "user": {"email": f"{id_}@athena.test", "name": "N", "roles": [], "department_id": "hq"},
        "department": {"name": "D", "region": "emea"},
        "category": {"name": "C"},
        "reason": {"text": "R"},
        "assignment": {"category_id": "training", "level": "L3", "approver_id": "l3", "region": id_},
        "rules": {"yaml": rules_text()},
    }
    if name == "PutEntity":
        id_ = "rules" if kind == "rules" else id_
        body = facts | {"type": name, "entity_id": id_, "body": {"kind": kind} | bodies[kind]}
    else:
        body = facts | {
            "type": name,
            "kind": kind,
            "entity_id": {"user": "sue.sales", "category": "meals"}.get(kind, "training-l2-l2b"),
        }
    command = REFERENCE_COMMANDS.validate_json(orjson.dumps(body))
    assert isinstance(command, PutEntity | RemoveEntity)
    return topics.REFERENCE_COMMANDS, f"{kind}:{body['entity_id']}", body


async def _outcomes(kafka: Kafka, sent: list[tuple[str, bytes, bytes]], waiting: set[str]) -> dict[str, str]:
    consumer = kafka.consumer(enable_auto_commit=False, fetch_max_wait_ms=50)
    producer = kafka.producer(enable_idempotence=True)
    found: dict[str, str] = {}
    await consumer.start()
    await producer.start()
    try:
        partitions = [
            TopicPartition(topics.OUTCOMES, number) for number in await partitions_of(consumer, topics.OUTCOMES)
        ]
        consumer.assign(partitions)
        for partition, end in (await consumer.end_offsets(partitions)).items():
            consumer.seek(partition, end)
        for topic, key, value in sent:
            await producer.send_and_wait(topic, key=key, value=value)
        async with asyncio.timeout(SECONDS):
            while waiting - set(found):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        if record.value and record.value.startswith(b"{"):
                            outcome = orjson.loads(record.value)
                            code = "ok" if outcome["status"] == "accepted" else outcome["code"]
                            found.setdefault(outcome["command_id"], code)
    except TimeoutError:
        pass
    finally:
        await producer.stop()
        await consumer.stop()
    return found
