"""`athena users invite`: a one-time link for somebody's first password, for whoever runs the stack."""

# ruff: noqa: T201 - a command prints

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sys
import uuid

from aiokafka.errors import KafkaError

from gateway.http.problems import Problem
from gateway.identity.invitations import Invitation, make
from gateway.sql.database import Database
from gateway.streams.producer import Producer
from gateway.streams.security import publish
from ops.stack.errors import StackError
from ops.stack.home import Home
from schemas.base import rfc3339
from schemas.reference import User
from schemas.security import SecurityEvent

OK, UNKNOWN = 0, 1
_USER = "SELECT document FROM catalog.entities WHERE kind = 'user' AND id = $1"


def run(home: Home, user_id: str, as_json: bool) -> int:
    """Exit code 0 made and printed, 1 no such account that can be used.

    Raises:
        StackError: PostgreSQL or Kafka cannot be reached.
    """
    try:
        made = asyncio.run(_invite(home, user_id))
    except (Problem, KafkaError) as error:
        raise StackError(
            f"The link was not made, or not put on record: {error}. Is the stack up? athena status"
        ) from error
    if made is None:
        print(f"There is no account {user_id}, or it is deactivated.", file=sys.stderr)
        return UNKNOWN
    base = (os.environ.get("ATHENA_PUBLIC_URL") or home.gateway).rstrip("/")
    link = f"{base}/first-password#{made.token}"
    expires = rfc3339(round(made.expires_at.timestamp() * 1000))
    if as_json:
        print(json.dumps({"user_id": user_id, "token": made.token, "link": link, "expires_at": expires}))
    else:
        print(f"{link}\ngood once, until {expires}; hand it to {user_id} alone")
    return OK


async def _invite(home: Home, user_id: str) -> Invitation | None:
    database, producer = Database(home.database_url("owner"), least=1, most=1), Producer(home.kafka)
    try:
        await database.start()
        document = await database.value(_USER, user_id)
        if document is None or not User.model_validate_json(document).active:
            return None
        await producer.start()
        # On record before there is anything to be used.
        await publish(producer, _event(user_id))
        return await make(database, user_id)
    finally:
        with contextlib.suppress(Problem):
            await producer.stop()
        await database.stop()


def _event(user_id: str) -> SecurityEvent:
    return SecurityEvent(
        event_id=str(uuid.uuid4()),
        action="invited",
        outcome="accepted",
        user_id=user_id,
        correlation_id=str(uuid.uuid4()),
        salt=secrets.token_hex(16),
    )
