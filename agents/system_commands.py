"""Commands that the system itself issues: from the sweeps, under no shard's identity."""

from __future__ import annotations

import orjson

from agents.ports import Output
from schemas import topics
from schemas.base import rfc3339
from schemas.commands import CommandBase
from schemas.envelope import headers


def system_command(command: CommandBase, partition: int, now_ms: int) -> Output:
    """The record of a command to a request of that partition; correlated by its own id."""
    found = headers(
        id_=command.command_id,
        type_=f"athena.command.{type(command).__name__}",
        source="athena/worker",
        time=rfc3339(now_ms),
        subject=command.request_id,
        correlation_id=command.correlation_id,
    )
    return Output(topics.COMMANDS, command.request_id.encode(), orjson.dumps(command.model_dump()), found, partition)
