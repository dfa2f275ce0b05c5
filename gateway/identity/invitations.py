"""How a person gets the first password: a link that works once, or one that an administrator gives.

The link holds 256 random bits; the database holds their hash. How it reaches the person: ADR 13.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gateway.http.problems import Problem
from gateway.sql import credentials
from gateway.sql.database import Database
from schemas.reference import User

if TYPE_CHECKING:
    from gateway.services import Services

#: How long a link is good.
INVITATION_SECONDS = 72 * 3600.0


@dataclass(frozen=True, slots=True)
class Invitation:
    """`token` is shown once, to whoever asked for it; a new one makes it worthless."""

    token: str
    expires_at: datetime


async def make(database: Database, user_id: str) -> Invitation:
    """A new link's token for this user. Raises Problem 503."""
    token = secrets.token_urlsafe(32)
    expires = await credentials.invite(database, user_id, _hash(token), INVITATION_SECONDS)
    return Invitation(token, expires)


async def invite(services: Services, user_id: str) -> Invitation:
    """`make`, for a route. Raises Problem 503."""
    return await make(services.database, user_id)


async def check_password(services: Services, email: str, name: str, password: str) -> None:
    """Whether a person of that address and name may have it, before anything is changed. Raises Problem 422, 503."""
    await services.passwords.accepted(email, password, email, name, "/password")


async def set_password(services: Services, user: User, password: str) -> None:
    """Set the password that an administrator gave with this version of the account; links are void and all sessions end. Nothing
    is done when one came with this version or a later one.

    Raises:
        Problem: 422 with pointer `/password` for one that is not good enough; 503.
    """
    await check_password(services, user.email, user.name, password)
    hashed = await services.passwords.hash(user.id, password, known=True)
    ended = await credentials.give(services.database, user.id, hashed, user.version)
    if ended is not None:
        services.revocations.note(*ended)


async def redeem(services: Services, token: str, password: str) -> User:
    """Set the first password by a link, and use the link up; whose it was.

    Raises:
        Problem: 401 for a link that is unknown, used, expired, or of somebody who has no account; 422 with pointer `/new`, and
            the link can be used again; 503.
    """
    token_hash = _hash(token)
    user = services.catalog.users.get(await credentials.invited(services.database, token_hash) or "")
    if user is None or not user.active:
        raise _worthless()
    await services.passwords.accepted(user.id, password, user.email, user.name, "/new")
    hashed = await services.passwords.hash(user.id, password, known=False)
    ended = await credentials.redeem(services.database, token_hash, hashed)
    if ended is None:
        raise _worthless()
    services.revocations.note(*ended)
    return user


def _worthless() -> Problem:
    return Problem(401, "unauthenticated", "This link is not valid any more. Ask an administrator for a new one.")


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
