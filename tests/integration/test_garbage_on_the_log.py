"""What comes straight into the commands topic, past the gateway: dead letters, and the stream goes on."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import orjson
import pytest

from schemas import topics
from tests import invariants, shapes
from tests.client import Api
from tests.stack import Stack, wait_until

PARTITIONS = 4


def send(stack: Stack, records: list[tuple[int | None, bytes | None, bytes | None]]) -> list[tuple[int, int]]:
    """Append (partition, key, value) records to the commands; their (partition, offset)s."""

    async def run() -> list[tuple[int, int]]:
        producer = stack.kafka.producer(acks="all")
        await producer.start()
        try:
            sent = [
                await producer.send_and_wait(topics.COMMANDS, key=key, value=value, partition=partition)
                for partition, key, value in records
            ]
            return [(one.partition, one.offset) for one in sent]
        finally:
            await producer.stop()

    return asyncio.run(run())


def letters(stack: Stack) -> dict[tuple[int, int], dict[str, Any]]:
    """The dead letters of commands by (partition, offset)."""
    found = {}
    for record in asyncio.run(invariants.read(stack.kafka, topics.DEAD_LETTERS)):
        if record.value and record.value.startswith(b"{"):
            letter = orjson.loads(record.value)
            if letter["topic"] == topics.COMMANDS:
                found[letter["partition"], letter["offset"]] = letter
    return found


def command(**fields: Any) -> dict[str, Any]:
    """An Approve as the gateway would write it."""
    return {
        "schema_version": 1, "type": "Approve", "command_id": str(uuid.uuid4()), "request_id": str(uuid.uuid4()),
        "actor_id": "l1.emea", "correlation_id": str(uuid.uuid4()), "source_address": None, "salt": "0" * 32,
        "reference_offset": 0, "expected_version": None, "device_time": None, "comment": None, **fields,
    }  # fmt: skip


def submit(**fields: Any) -> dict[str, Any]:
    found = command(
        type="SubmitRequest", actor_id="sam.sales", category_id="travel", reason_id="travel-general", title="x",
        description=None, amount="1.00", currency="EUR", supersedes=None, **fields,
    )  # fmt: skip
    del found["comment"]
    return found


GARBAGE: dict[str, bytes | None] = {
    "nothing": None,
    "empty": b"",
    "no JSON": b"{",
    "no UTF-8": b"\xff\xfe\x00\x00",
    "a list": b"[]",
    "zeros": b"\x00" * 1000,
    "unknown type": json.dumps(command(type="Explode")).encode(),
    "unknown field": json.dumps(command(surprise=1)).encode(),
    "an id that is no id": json.dumps(command(request_id="42")).encode(),
    "another schema version": json.dumps(command(schema_version=99)).encode(),
    "an amount with an exponent": json.dumps(submit() | {"amount": "1e3"}).encode(),
    "a negative amount": json.dumps(submit() | {"amount": "-5"}).encode(),
    "no amount": json.dumps(submit() | {"amount": "NaN"}).encode(),
    "a comment with NUL": json.dumps(command(comment="a\x00b")).encode(),
    "truncated": json.dumps(submit()).encode()[:-20],
    "deep": b"[" * 50_000,
    "large": json.dumps(command(comment="x" * 300_000)).encode(),
    "an offset beyond the end": json.dumps(command(reference_offset=2**40)).encode(),
}


def test_garbage_becomes_dead_letters_and_the_stream_goes_on(stack: Stack, api: Api) -> None:
    """Otherwise one bad record would stop every approval behind it."""
    request = api.submit()
    sent = {
        name: send(stack, [(partition, b"garbage", value) for partition in range(PARTITIONS)])
        for name, value in GARBAGE.items()
    }
    began = [api.submit() for _ in range(8)]
    assert api.approved("l1.emea", request)["status"] == "approved"
    assert len({one["id"] for one in began}) == 8
    places = {place for found in sent.values() for place in found}
    wait_until(lambda: places <= set(letters(stack)), 30, "not every bad record became a dead letter")
    found = letters(stack)
    for name, where in sent.items():
        for place in where:
            letter = found[place]
            assert letter["error"], f"{name}: no reason given"
            assert letter["trace"] is None, f"{name}: taken for a bug: {letter['trace']}"


def test_a_dead_letter_whose_command_can_be_read_has_an_outcome(stack: Stack) -> None:
    """Otherwise somebody would wait for an answer that never comes."""
    body = command(type="Explode")
    send(stack, [(None, body["request_id"].encode(), json.dumps(body).encode())])

    def outcome() -> list[str]:
        records = asyncio.run(invariants.read(stack.kafka, topics.OUTCOMES))
        found = [orjson.loads(record.value) for record in records if record.value and record.value.startswith(b"{")]
        return [one["status"] for one in found if one["command_id"] == body["command_id"]]

    wait_until(outcome, 15, "a command that could not be processed has no outcome")
    assert outcome() == ["failed"]


def test_dead_letters_can_be_listed_and_shown(stack: Stack) -> None:
    """Otherwise an operator could not find out what was lost."""
    ((partition, offset),) = send(stack, [(0, b"garbage", b"not a command, but findable")])
    wait_until(lambda: (partition, offset) in letters(stack), 15, "no dead letter")
    letter = letters(stack)[partition, offset]
    listed = stack.run("dead-letters", "list", "--json")
    assert listed.returncode in (0, 1), listed.stderr
    assert letter["id"] in listed.stdout
    shown = stack.run("dead-letters", "show", letter["id"])
    assert shown.returncode == 0, shown.stderr
    assert "not a command, but findable" in shown.stdout


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [("1.001", "USD", "currency-not-supported"), ("5.00", "CHF", "currency-not-supported")],
)
def test_a_wellformed_command_past_the_gateway_is_decided_like_any_other(
    stack: Stack, api: Api, amount: str, currency: str, code: str
) -> None:
    """Otherwise whoever can write to the log could file what the gateway refuses."""
    body = submit() | {"amount": amount, "currency": currency}
    send(stack, [(None, body["request_id"].encode(), json.dumps(body).encode())])

    def outcomes() -> list[dict[str, Any]]:
        records = asyncio.run(invariants.read(stack.kafka, topics.OUTCOMES))
        found = [orjson.loads(record.value) for record in records if record.value and record.value.startswith(b"{")]
        return [one for one in found if one["command_id"] == body["command_id"]]

    wait_until(outcomes, 15, "no outcome")
    assert outcomes()[0]["status"] in ("refused", "failed")
    assert outcomes()[0]["code"] in (code, "failed")
    shapes.refused(api.get("auditor", f"/requests/{body['request_id']}"), 404, "not-found")


def test_a_command_sent_twice_to_the_log_has_one_effect(stack: Stack, api: Api) -> None:
    """Otherwise a producer's retry would approve twice."""
    body = submit()
    value = json.dumps(body).encode()
    send(stack, [(None, body["request_id"].encode(), value)] * 5)
    seen = api.get("sam.sales", f"/requests/{body['request_id']}", min_version=1)
    assert seen.status_code == 200
    api.approved("l1.emea", seen.json())
    send(stack, [(None, body["request_id"].encode(), value)] * 2)
    api.submit()
    items = api.read("sam.sales", seen.json(), 2)
    assert (items["version"], items["status"]) == (2, "approved")


def test_a_command_repeated_on_other_partitions_has_one_effect(stack: Stack, api: Api) -> None:
    """Otherwise a tool with another partitioner would give a request a second history, and fork its audit chain."""
    body = submit()
    key, value = body["request_id"].encode(), json.dumps(body).encode()
    ((owner, _),) = send(stack, [(None, key, value)])
    seen = api.get("sam.sales", f"/requests/{body['request_id']}", min_version=1)
    others = send(stack, [(number, key, value) for number in range(PARTITIONS) if number != owner])
    wait_until(lambda: set(others) <= set(letters(stack)), 20, "not every repeat became a dead letter")
    assert "partition" in letters(stack)[others[0]]["error"]
    approved = api.approved("l1.emea", seen.json())
    assert (approved["status"], approved["version"]) == ("approved", 2)
    records = asyncio.run(invariants.read(stack.kafka, topics.AUDIT))
    bodies = [orjson.loads(record.value) for record in records if record.value and record.value.startswith(b"{")]
    assert [one["version"] for one in bodies if one["entity"] == f"request:{body['request_id']}"] == [1, 2]
