"""Security events on `athena.security`: from gateways, which write no audit records themselves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints

from schemas.base import SCHEMA_VERSION, CorrelationId, Stored, Uuid

#: Chain of sign-ins of accounts that do not exist.
NOBODY = "anonymous"


class SecurityEvent(Stored):
    """Keyed by `user_id`; the worker chains it under `session:<user_id>`.

    `action` is such as `login`, `login-failed`, `logout`, `refresh-reused`, `session-ended`, `password-changed`,
    `password-change-failed`, `first-password-set`, `invited`, `access-denied`.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    event_id: Uuid
    action: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z-]{1,40}$")]
    outcome: Literal["accepted", "refused"]
    user_id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    roles: tuple[str, ...] = ()
    code: str | None = None
    correlation_id: CorrelationId
    source_address: str | None = None
    salt: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
