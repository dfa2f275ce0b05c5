"""Changes of reference data in tests, until the API can do them: through the log, as `athena seed` does it."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from pathlib import Path
from typing import Any

import asyncpg

from ops.reference_commands import send
from ops.seed import rules_text
from schemas.commands import SYSTEM
from schemas.outcomes import Outcome
from schemas.reference import PutEntity
from tests.client import Api
from tests.stack import Stack, wait_until

#: What a body of each kind says of the entity, apart from its id.
LISTS = {"department": "departments", "category": "categories", "reason": "reasons", "assignment": "assignments"}


def putting(kind: str, id_: str, **fields: Any) -> PutEntity:
    """The command that creates or replaces an entity."""
    return PutEntity.model_validate(
        {
            "command_id": str(uuid.uuid4()),
            "actor_id": SYSTEM,
            "correlation_id": str(uuid.uuid4()),
            "salt": secrets.token_hex(16),
            "entity_id": id_,
            "body": {"kind": kind, **fields},
        }
    )


def put(stack: Stack, kind: str, id_: str, **fields: Any) -> Outcome:
    """Create or replace an entity; returns the accepted outcome."""
    command = putting(kind, id_, **fields)
    outcome = asyncio.run(send(stack.kafka, [command], 30.0))[command.command_id]
    assert outcome.status == "accepted", outcome
    return outcome


def put_seen(stack: Stack, api: Api, kind: str, id_: str, **fields: Any) -> None:
    """As `put`; returns once the gateway has applied it."""
    outcome = put(stack, kind, id_, **fields)
    assert outcome.entity is not None
    version = outcome.entity["version"]

    def applied() -> bool:
        found = listed(api, LISTS[kind], id_)
        return found is not None and found["version"] >= version

    wait_until(applied, 10, f"the gateway does not show {kind} {id_} version {version}")


def listed(api: Api, plural: str, id_: str) -> dict[str, Any] | None:
    """An entity as its list shows it, None when it is not there."""
    cursor: dict[str, str] = {}
    while True:
        page = api.get("admin", f"/{plural}", limit=200, **cursor).json()
        found = next((item for item in page["items"] if item["id"] == id_), None)
        if found is not None or page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def person(stack: Stack, api: Api, id_: str, roles: tuple[str, ...], department: str, active: bool = True) -> None:
    """An account with the demo's password; returns once the gateway has it."""
    put(
        stack, "user", id_, email=f"{id_}@athena.test", name=id_.title(), roles=roles, department_id=department, active=active
    )  # fmt: skip

    async def credentials() -> None:
        connection = await asyncpg.connect(stack.postgres, timeout=10)
        try:
            await connection.execute(
                "INSERT INTO identity.credentials (user_id, password_hash) "
                "SELECT $1, password_hash FROM identity.credentials WHERE user_id = 'sam.sales' ON CONFLICT DO NOTHING",
                id_,
            )
        finally:
            await connection.close(timeout=5)

    asyncio.run(credentials())

    def applied() -> bool:
        found = api.get("admin", f"/users/{id_}")
        return found.status_code == 200 and found.json()["active"] == active and tuple(found.json()["roles"]) == roles

    wait_until(applied, 10, f"the gateway does not know {id_}")


def push_rules(stack: Stack, api: Api, folder: Path, text: str) -> int:
    """Publish a rules file; returns its version, once the gateway has it."""
    file = folder / "rules.yaml"
    file.write_text(text, encoding="utf-8")
    before = api.get("admin", "/rules").json()["version"]
    done = stack.run("rules", "push", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    wait_until(lambda: api.get("admin", "/rules").json()["version"] > before, 10, "the gateway has no new rules")
    return int(before) + 1


def rules_with_window(window: str) -> str:
    """The demo's rules with another rollback window."""
    text = rules_text()
    assert "rollback_window: 24h " in text
    return text.replace("rollback_window: 24h ", f"rollback_window: {window} ")
