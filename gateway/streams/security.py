"""Security events to `athena.security`; workers chain them into the audit log."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import Sequence
from typing import Literal

import structlog

from gateway import metrics
from gateway.http.call import Call
from gateway.http.problems import Problem
from gateway.streams.producer import Producer
from schemas import topics
from schemas.base import rfc3339
from schemas.envelope import headers
from schemas.security import SecurityEvent

log = structlog.get_logger(__name__)

SOURCE = "/athena/gateway"
#: Events on their way; more are counted and logged as lost.
MAX_UNDERWAY = 1000


async def publish(producer: Producer, event: SecurityEvent, traceparent: str | None = None) -> None:
    """Send one event and wait until Kafka has it. Raises Problem 503 when it did not take it."""
    found = headers(
        id_=event.event_id,
        type_=f"athena.security.{event.action}",
        source=SOURCE,
        time=rfc3339(int(time.time() * 1000)),
        subject=event.user_id,
        correlation_id=event.correlation_id,
        traceparent=traceparent,
    )
    await producer.send(topics.SECURITY, event.user_id.encode(), event.model_dump_json().encode(), found)


class SecurityLog:
    """`record` waits until Kafka has the event, `note` does not."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._underway: set[asyncio.Task[None]] = set()

    async def record(
        self,
        call: Call,
        action: str,
        user_id: str,
        *,
        outcome: Literal["accepted", "refused"] = "accepted",
        roles: Sequence[str] = (),
        code: str | None = None,
    ) -> None:
        """Put an event on record. Raises Problem 503 when Kafka did not take it."""
        event = SecurityEvent(
            event_id=str(uuid.uuid4()),
            action=action,
            outcome=outcome,
            user_id=user_id,
            roles=tuple(roles),
            code=code,
            correlation_id=call.correlation_id,
            source_address=call.address,
            salt=secrets.token_hex(16),
        )
        await publish(self._producer, event, call.traceparent)

    def note(
        self, call: Call, action: str, user_id: str, *, roles: Sequence[str] = (), code: str | None = None
    ) -> None:
        """Put a refusal on record in the background."""
        if len(self._underway) >= MAX_UNDERWAY:
            self._lost(action, call.correlation_id, "too many are underway")
            return
        task = asyncio.create_task(self._send(call, action, user_id, roles, code))
        self._underway.add(task)
        task.add_done_callback(self._underway.discard)

    async def stop(self, seconds: float = 1.0) -> None:
        """Wait a moment for what is underway."""
        if self._underway:
            await asyncio.wait(self._underway, timeout=seconds)

    async def _send(self, call: Call, action: str, user_id: str, roles: Sequence[str], code: str | None) -> None:
        try:
            await self.record(call, action, user_id, outcome="refused", roles=roles, code=code)
        except Problem as problem:
            self._lost(action, call.correlation_id, problem.detail)

    def _lost(self, action: str, correlation_id: str, why: str) -> None:
        metrics.SECURITY_EVENTS_LOST.inc()
        log.error("a security event is lost", action=action, correlation_id=correlation_id, why=why)
