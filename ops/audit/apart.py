"""Verifies the whole log in a process of its own, at low priority: its hashing must not slow down the process that asks.

The child is told what it needs on its standard input, a line of JSON, so that no password stands in a list of processes; it
answers on its standard output. It ends when its input is closed: it does not outlive who asked.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from ops.audit.source import KafkaSource
from ops.audit.verify import Trust, verify_at
from ops.kafka_clients import Kafka
from ops.stack.errors import StackError
from ops.tls.context import Files
from schemas.notes import VerifierKey

#: Added to the priority number of the asking process: everything else on the machine goes first.
NICENESS = 10
#: The longest answer: one break, with its reason.
MAX_ANSWER = 64 * 1024


async def verify_apart(dsn: str, kafka: Kafka, keys: Collection[VerifierKey]) -> dict[str, Any]:
    """What `ops.audit.verify` finds, as `Report.as_json`. Cancelling ends the child.

    Raises:
        StackError: PostgreSQL or the log cannot be read; the message says which.
    """
    # The settings of this process hold secrets that the child has no use for.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ATHENA_")}
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ops.audit.apart", stdin=pipe, stdout=pipe, env=environment, limit=MAX_ANSWER
    )
    try:
        assert child.stdin is not None
        assert child.stdout is not None
        asked = {"dsn": dsn, "kafka": kafka, "keys": [str(key) for key in keys]}
        child.stdin.write(orjson.dumps(asked, default=str) + b"\n")
        line = await child.stdout.readline()
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
    if not line:
        raise RuntimeError(
            "the process that verifies the audit log ended without an answer; its last words are in this log"
        )
    answer: dict[str, Any] = orjson.loads(line)
    if "failed" in answer:
        raise StackError(answer["failed"])
    return answer


async def _verify(asked: dict[str, Any]) -> dict[str, Any]:
    source = KafkaSource(_kafka(**asked["kafka"]))
    try:
        report = await verify_at(asked["dsn"], source, None, Trust([VerifierKey.parse(key) for key in asked["keys"]]))
    except StackError as error:
        return {"failed": str(error)[:1000]}
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return {"failed": f"PostgreSQL did not answer: {error!r}"[:1000]}
    finally:
        await source.close()
    return report.as_json()


def _kafka(bootstrap: str, tls: dict[str, str] | None) -> Kafka:
    return Kafka(bootstrap, None if tls is None else Files(**{name: Path(path) for name, path in tls.items()}))


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def main() -> None:
    """Read what is asked, answer."""
    os.nice(NICENESS)
    asked = orjson.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout.buffer.write(orjson.dumps(asyncio.run(_verify(asked))) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
