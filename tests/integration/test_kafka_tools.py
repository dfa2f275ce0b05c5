"""Kafka's own console tools read our topics and groups: operators need no tool of ours."""

from __future__ import annotations

import json
import subprocess

import pytest

from ops.stack.broker import JARS, find_java
from schemas import topics
from tests.client import Api
from tests.stack import Stack

TIME_OUT = 90


def tool(stack: Stack, name: str, *arguments: str) -> str:
    """Run one of Kafka's tools on the stack by its class; what it prints."""
    place = ["--bootstrap-server", stack.kafka.bootstrap]
    if stack.home.tls:
        option = "--consumer.config" if name.endswith("ConsoleConsumer") else "--command-config"
        place += [option, str(stack.home.certificates.tools)]
    options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{JARS}/*"]
    done = subprocess.run(
        [find_java(), *options, name, *place, *arguments], check=False, capture_output=True, text=True, timeout=TIME_OUT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_topics_are_listed_and_described(stack: Stack) -> None:
    """Otherwise an operator could not see what the product stores, and for how long."""
    listed = tool(stack, "org.apache.kafka.tools.TopicCommand", "--list").split()
    assert {spec.name for spec in topics.TOPICS} <= set(listed)
    described = tool(
        stack,
        "org.apache.kafka.tools.TopicCommand",
        "--describe",
        "--topic",
        topics.COMMANDS,
    )
    assert "PartitionCount: 4" in described
    assert "message.timestamp.type=LogAppendTime" in described


def test_groups_are_listed_with_their_lag(stack: Stack, api: Api) -> None:
    """Otherwise nobody could alert on lag with the usual means."""
    api.read("sam.sales", api.submit())
    command = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
    listed = tool(stack, command, "--list").split()
    assert {topics.WORKER_GROUP, topics.PROJECTOR_GROUP} <= set(listed)
    described = tool(stack, command, "--describe", "--group", topics.WORKER_GROUP)
    assert topics.COMMANDS in described
    assert "LAG" in described


@pytest.mark.parametrize("topic", [topics.AUDIT, topics.NOTIFICATIONS])
def test_the_console_consumer_reads_our_records(stack: Stack, api: Api, topic: str) -> None:
    """Otherwise other systems could not read what happened without our code."""
    request = api.approved("l1.emea", api.submit())
    printed = tool(
        stack, "org.apache.kafka.tools.consumer.ConsoleConsumer", "--topic", topic,
        "--from-beginning", "--timeout-ms", "6000",
        "--property", "print.headers=true", "--property", "print.key=true",
    )  # fmt: skip
    lines = [line for line in printed.splitlines() if request["id"] in line]
    assert lines, f"nothing about {request['id']} on {topic}"
    for line in lines:
        headers, key, value = line.split("\t", 2)
        assert "ce_specversion:1.0" in headers
        assert "correlation_id:" in headers
        assert key == request["id"]
        assert json.loads(value)["request_id"] == request["id"]
    if topic == topics.NOTIFICATIONS:
        told = {
            (json.loads(line.split("\t", 2)[2])["template"], json.loads(line.split("\t", 2)[2])["user_id"])
            for line in lines
        }
        assert told == {("level-opened", "l1.emea"), ("level-opened", "l1b.emea"), ("approved", "sam.sales")}
