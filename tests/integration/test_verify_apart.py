"""`GET /audit/verify` of everything works in a process apart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ops.audit.apart import verify_apart
from ops.kafka_clients import Kafka
from ops.stack import credentials
from ops.stack.errors import StackError
from tests.client import Api
from tests.stack import Stack, wait_until


def children() -> set[str]:
    """Processes of ours that verify now."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            told, status = entry.read_bytes(), entry.with_name("status").read_text()
        except OSError:
            continue
        parent = next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:"))
        if b"ops.audit.apart" in told and parent == str(Path("/proc/self").resolve().name):
            found.add(entry.parent.name)
    return found


def test_it_finds_what_is_there_and_says_what_is_not(stack: Stack, api: Api) -> None:
    """An auditor would be told that all is well when nothing could be read."""
    api.read("auditor", api.submit())
    dsn, keys = stack.home.database_url("gateway"), credentials.checkpoint_vkeys(stack.home)
    answer = asyncio.run(verify_apart(dsn, stack.home.kafka, keys))
    assert answer["ok"], answer
    assert answer["records"] >= 1
    with pytest.raises(StackError, match="PostgreSQL did not answer"):
        asyncio.run(verify_apart("postgresql://nobody@127.0.0.1:9/none", stack.home.kafka, keys))
    with pytest.raises(StackError, match=r"Kafka at 127\.0\.0\.1:9 did not answer"):
        asyncio.run(verify_apart(dsn, Kafka("127.0.0.1:9"), keys))
    assert not children()


def test_given_up_it_ends(stack: Stack) -> None:
    """Callers who hang up would leave behind processes that go on for minutes."""

    async def run() -> None:
        task = asyncio.create_task(verify_apart(stack.home.database_url("gateway"), stack.home.kafka, []))
        await asyncio.to_thread(wait_until, children, 20, "no process was started")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert not children()
