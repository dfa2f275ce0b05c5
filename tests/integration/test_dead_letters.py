"""`athena dead-letters list|show|replay`: an operator finds what failed, and sends it again without doing anything twice."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from aiokafka import TopicPartition

from schemas import topics
from tests import invariants
from tests import stack as stacks
from tests.client import Api
from tests.integration.test_garbage_on_the_log import command, submit
from tests.stack import Stack, wait_until

RULES = "ops/demo_data/rules.yaml"
Headers = list[tuple[str, bytes]]


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    with stacks.own(ATHENA_RATE_LIMITS="off") as stack:
        yield stack


def send(
    own: Stack,
    topic: str,
    partition: int | None,
    key: bytes | None,
    value: bytes | None,
    headers: Headers | None = None,
) -> tuple[int, int]:
    """Append one record; its (partition, offset)."""

    async def run() -> tuple[int, int]:
        producer = own.kafka.producer(acks="all", max_request_size=5_000_000)
        await producer.start()
        try:
            sent = await producer.send_and_wait(topic, value, key=key, partition=partition, headers=headers or [])
            return sent.partition, sent.offset
        finally:
            await producer.stop()

    return asyncio.run(run())


def at(own: Stack, topic: str, partition: int, offset: int) -> Any:
    """The record there."""

    async def run() -> Any:
        consumer = own.kafka.consumer(max_partition_fetch_bytes=5_000_000)
        await consumer.start()
        try:
            tp = TopicPartition(topic, partition)
            consumer.assign([tp])
            consumer.seek(tp, offset)
            async with asyncio.timeout(20):
                return await consumer.getone(tp)
        finally:
            await consumer.stop()

    return asyncio.run(run())


def outcomes(own: Stack, command_id: str) -> list[dict[str, Any]]:
    records = asyncio.run(invariants.read(own.kafka, topics.OUTCOMES))
    found = [orjson.loads(record.value) for record in records if record.value and record.value.startswith(b"{")]
    return [one for one in found if one["command_id"] == command_id]


def listed(own: Stack, *options: str) -> list[dict[str, Any]]:
    ran = own.run("dead-letters", "list", "--json", *options)
    found: list[dict[str, Any]] = json.loads(ran.stdout)
    assert ran.returncode == (1 if found else 0), ran.stderr
    return found


def letter_of(own: Stack, topic: str, partition: int, offset: int) -> dict[str, Any]:
    """Wait for the letter of that record."""

    def found() -> list[dict[str, Any]]:
        return [
            one for one in listed(own) if (one["topic"], one["partition"], one["offset"]) == (topic, partition, offset)
        ]

    wait_until(found, 40, f"no dead letter of {topic}[{partition}]@{offset}")
    return found()[0]


def reference_end(own: Stack) -> int:
    async def run() -> int:
        consumer = own.kafka.consumer()
        await consumer.start()
        try:
            tp = TopicPartition(topics.REFERENCE, 0)
            return int((await consumer.end_offsets([tp]))[tp])
        finally:
            await consumer.stop()

    return asyncio.run(run())


def test_a_replayed_command_is_decided_once(own: Stack) -> None:
    """Otherwise an operator could not help somebody whose command failed, or would help them twice."""
    api = Api(own.gateway)
    body = submit(reference_offset=reference_end(own) + 1)
    key = body["request_id"].encode()
    headers = [("ce_id", body["command_id"].encode()), ("traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01")]
    partition, offset = send(own, topics.COMMANDS, None, key, json.dumps(body).encode(), headers)
    letter = letter_of(own, topics.COMMANDS, partition, offset)
    assert "beyond the end" in letter["error"]
    assert [one["status"] for one in outcomes(own, body["command_id"])] == ["failed"]
    assert api.get("sam.sales", f"/requests/{body['request_id']}").status_code == 404

    pushed = own.run("rules", "push", RULES)
    assert pushed.returncode == 0, pushed.stderr
    place = f"{topics.COMMANDS}[{partition}]@{offset}"
    ran = own.run("dead-letters", "replay", place, "--json")
    assert ran.returncode == 0, ran.stderr
    sent = json.loads(ran.stdout)
    again = at(own, topics.COMMANDS, partition, sent["sent_offset"])
    assert (again.key, again.value, list(again.headers)) == (key, json.dumps(body).encode(), headers)

    seen = api.get("sam.sales", f"/requests/{body['request_id']}", min_version=1)
    assert (seen.status_code, seen.json()["version"]) == (200, 1)
    api.approved("l1.emea", seen.json())
    for _ in range(2):
        assert own.run("dead-letters", "replay", letter["id"]).returncode == 0
    wait_until(lambda: len(outcomes(own, body["command_id"])) == 4, 30, "a replay has no outcome")
    _, *accepted = outcomes(own, body["command_id"])
    assert [one["status"] for one in accepted] == ["accepted"] * 3
    assert all(one == accepted[0] for one in accepted)
    now = api.read("sam.sales", seen.json(), 2)
    assert (now["version"], now["status"]) == (2, "approved")
    found = asyncio.run(invariants.check(own.home))
    assert not found.problems, found.problems[:5]


def test_what_fails_again_is_sent_once_by_the_next_replay(own: Stack) -> None:
    """Otherwise each `replay --all` would double the garbage."""
    value = f"garbage {uuid.uuid4()}".encode()
    partition, offset = send(own, topics.COMMANDS, 2, b"any key", value)
    letter_of(own, topics.COMMANDS, partition, offset)
    for count in (2, 3, 4):
        ran = own.run("dead-letters", "replay", "--all", "--topic", topics.COMMANDS, "--json")
        assert ran.returncode == 0, ran.stderr
        mine = [
            one for one in map(json.loads, ran.stdout.splitlines()) if one["offset"] == offset and one["partition"] == 2
        ]
        assert len(mine) == 1
        again = at(own, topics.COMMANDS, 2, mine[0]["sent_offset"])
        assert (again.key, again.value) == (b"any key", value), "another partition would be another order"
        letter_of(own, topics.COMMANDS, 2, mine[0]["sent_offset"])

        def same() -> int:
            records = asyncio.run(invariants.read(own.kafka, topics.COMMANDS))
            return sum(record.value == value for record in records)

        assert same() == count


def test_a_field_out_of_bounds_is_named(own: Stack) -> None:
    """Otherwise nobody could mend it: no JSON writer takes an integer of 70 bits."""
    body = command(type="CloseWindow", actor_id="system", decision_version=2**70)
    del body["comment"]
    partition, offset = send(own, topics.COMMANDS, None, body["request_id"].encode(), json.dumps(body).encode())
    letter = letter_of(own, topics.COMMANDS, partition, offset)
    shown = own.run("dead-letters", "show", letter["id"])
    assert shown.returncode == 0, shown.stderr
    assert body["command_id"] in shown.stdout
    as_json = json.loads(own.run("dead-letters", "show", f"athena.commands/{partition}/{offset}", "--json").stdout)
    assert "decision_version" in as_json["error"]


@pytest.mark.parametrize(
    ("topic", "size", "cut"),
    [
        (topics.COMMANDS, 1_000_000, False),
        (topics.REFERENCE_COMMANDS, 2_500_000, False),
        (topics.REFERENCE_COMMANDS, 3_900_000, True),
    ],
)
def test_large_records_can_be_sent_again_whole(own: Stack, topic: str, size: int, cut: bool) -> None:
    """Otherwise the largest rules file that failed would be lost, or come back as half of one."""
    value = b"{" + uuid.uuid4().hex.encode() + bytes(range(256)) * (size // 256)
    headers = [("ce_id", b"large"), ("bytes", bytes(range(256)))]
    partition, offset = send(own, topic, 0, b"large", value, headers)
    letter = letter_of(own, topic, partition, offset)
    assert letter["cut"] is cut
    ran = own.run("dead-letters", "replay", letter["id"], "--json")
    assert ran.returncode == 0, ran.stderr
    again = at(own, topic, 0, json.loads(ran.stdout)["sent_offset"])
    assert (again.key, again.value, list(again.headers)) == (b"large", value, headers)
    Api(own.gateway).submit()


def test_security_records_have_letters_too(own: Stack) -> None:
    """Otherwise a sign-in that could not be chained would vanish without a word."""
    partition, offset = send(own, topics.SECURITY, 1, b"sam.sales", b"{no event")
    letter = letter_of(own, topics.SECURITY, partition, offset)
    assert own.run("dead-letters", "replay", letter["id"]).returncode == 0


def test_letters_are_chosen_by_source_time_and_error(own: Stack) -> None:
    """Otherwise an operator would have to send again what is known to be garbage."""
    word = uuid.uuid4().hex
    before = time.time()
    first = send(own, topics.COMMANDS, 0, b"key", json.dumps(command(**{word: 1})).encode())
    letter_of(own, topics.COMMANDS, *first)
    assert [one["offset"] for one in listed(own, "--error", word.upper())] == [first[1]]
    assert listed(own, "--error", word, "--topic", topics.SECURITY) == []
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(before - 1))
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    assert len(listed(own, "--error", word, "--since", stamp, "--until", later)) == 1
    assert listed(own, "--error", word, "--until", stamp) == []
    end = at_end(own)
    ran = own.run("dead-letters", "replay", "--all", "--error", word, "--dry-run")
    assert (ran.returncode, "would be sent again" in ran.stdout) == (0, True)
    assert at_end(own) == end, "a dry run sends nothing"


def at_end(own: Stack) -> int:
    return len([one for one in asyncio.run(invariants.read(own.kafka, topics.COMMANDS)) if one.key == b"key"])


def test_wrong_use_and_missing_letters_have_their_exit_codes(own: Stack) -> None:
    """Otherwise a script could not tell done from nothing done."""
    assert own.run("dead-letters", "replay").returncode == 2
    assert own.run("dead-letters", "replay", "some-id", "--all").returncode == 2
    assert own.run("dead-letters", "list", "--since", "yesterday").returncode == 2
    for verb in ("show", "replay"):
        ran = own.run("dead-letters", verb, "athena.commands[0]@99999999")
        assert (ran.returncode, "There is no dead letter" in ran.stderr) == (1, True)
    nowhere = stacks.athena("dead-letters", "list", "--home", str(own.home.path / "none"))
    assert nowhere.returncode == 3


def test_a_letter_that_no_worker_wrote_is_not_sent_anywhere(own: Stack) -> None:
    """Otherwise whoever can write letters could have an operator write to the audit stream."""
    letter = {
        "schema_version": 1, "id": str(uuid.uuid4()), "topic": topics.AUDIT, "partition": 0, "offset": 10**9, "timestamp": 0,
        "key": None, "value": "e30=", "headers": [], "error": "forged", "trace": None,
    }  # fmt: skip
    send(own, topics.DEAD_LETTERS, 0, None, json.dumps(letter).encode())
    ran = own.run("dead-letters", "replay", letter["id"])
    assert (ran.returncode, "nothing is sent there" in ran.stderr) == (1, True)
