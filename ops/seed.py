"""Fills in the demo organisation: reference data through the worker, credentials into PostgreSQL. Repeating changes nothing.

Run as `python -m ops.seed` with `ATHENA_KAFKA_BOOTSTRAP` and `ATHENA_DATABASE_URL` (the owner's).
"""

# ruff: noqa: T201 - a command prints

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
from argon2 import PasswordHasher
from argon2.low_level import Type
from ruamel.yaml import YAML

from ops.kafka_clients import Kafka
from ops.postgres.clients import connect
from ops.reference_commands import send
from ops.settings import load_settings
from ops.stack.errors import StackError
from schemas.codes import Code
from schemas.commands import SYSTEM
from schemas.envelope import derived_id
from schemas.reference import PutEntity

DATA = Path(__file__).with_name("demo_data")
OUTCOME_TIME_OUT = 75.0
DATABASE_TIME_OUT = 10.0
#: What a repeat may answer: it is there already, as it was seeded or as somebody has changed it since.
ALREADY_THERE = frozenset({Code.ENTITY_EXISTS, Code.PRECONDITION_FAILED, Code.IDEMPOTENCY_KEY_REUSED})
#: OWASP's second choice for Argon2id: 46 MiB, one pass, one lane.
HASHER = PasswordHasher(time_cost=1, memory_cost=47104, parallelism=1, type=Type.ID)


def organisation() -> dict[str, Any]:
    """The demo organisation as `demo_data/organisation.yaml` has it."""
    data: dict[str, Any] = YAML(typ="safe", pure=True).load(DATA / "organisation.yaml")
    return data


def rules_text() -> str:
    """The demo's rules file."""
    return (DATA / "rules.yaml").read_text(encoding="utf-8")


def bodies(data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every entity as (id, body), each after what it names."""
    for id_, fields in data["departments"].items():
        yield id_, {"kind": "department", **fields}
    for id_, fields in data["users"].items():
        yield id_, {"kind": "user", **fields}
    for id_ in data["categories"]:
        yield id_, {"kind": "category", "name": id_}
    for category, text in data["reasons"].items():
        yield f"{category}-general", {"kind": "reason", "text": text, "category_id": category}
    for category in data["categories"]:
        for fields in data["assignments"]:
            id_ = f"{category}-{fields['level'].lower()}-{fields['approver_id']}"
            yield id_, {"kind": "assignment", "category_id": category, **fields}
    yield "rules", {"kind": "rules", "yaml": rules_text(), "comment": "The demo organisation's rules"}


def commands(data: dict[str, Any]) -> list[PutEntity]:
    """The commands that make it, in order; the same ids every time."""
    made = []
    for id_, body in bodies(data):
        command_id = derived_id("seed", body["kind"], id_)
        fields = {key: tuple(value) if isinstance(value, list) else value for key, value in body.items()}
        made.append(
            PutEntity.model_validate(
                {
                    "command_id": command_id,
                    "actor_id": SYSTEM,
                    "correlation_id": command_id,
                    "salt": secrets.token_hex(16),
                    "expected_version": 0,
                    "entity_id": id_,
                    "body": fields,
                }
            )
        )
    return made


async def seed(kafka: Kafka, dsn: str) -> None:
    """Bring the demo organisation into a stack whose worker runs.

    Raises:
        StackError: Kafka or the worker does not answer in time, or an entity was refused.
        OSError, asyncpg.PostgresError, TimeoutError: PostgreSQL cannot be reached or written.
    """
    data = organisation()
    await _credentials(dsn, list(data["users"]), data["password"])
    sent = commands(data)
    outcomes = await send(kafka, sent, OUTCOME_TIME_OUT, _progress)
    refused = []
    for command in sent:
        outcome = outcomes[command.command_id]
        if outcome.status != "accepted" and outcome.code not in ALREADY_THERE:
            refused.append(f"{command.body.kind} {command.entity_id}: {outcome.code} {outcome.detail or ''}".rstrip())
    if refused:
        raise StackError("The demo organisation was not taken over: " + "; ".join(refused))


def _progress(done: int, of: int) -> None:
    if done == of or done % 20 == 0:
        print(f"demo organisation: {done}/{of}", file=sys.stderr, flush=True)


async def _credentials(dsn: str, users: list[str], password: str) -> None:
    connection = await connect(dsn, timeout=DATABASE_TIME_OUT)
    try:
        rows = await connection.fetch("SELECT user_id FROM identity.credentials", timeout=DATABASE_TIME_OUT)
        missing = [user for user in users if user not in {row["user_id"] for row in rows}]
        hashed = [(user, await asyncio.to_thread(HASHER.hash, password)) for user in missing]
        await connection.executemany(
            "INSERT INTO identity.credentials (user_id, password_hash) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            hashed,
            timeout=DATABASE_TIME_OUT,
        )
    finally:
        await connection.close(timeout=5)


def main() -> int:
    """Exit code 0 seeded, 1 refused, 3 cannot reach Kafka, the worker or PostgreSQL."""
    settings = load_settings()
    try:
        asyncio.run(seed(settings.kafka, settings.dsn))
    except StackError as error:
        print(error, file=sys.stderr)
        return 1 if "not taken over" in str(error) else 3
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        print(f"PostgreSQL cannot be reached or written: {error!r}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
