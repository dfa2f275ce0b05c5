"""Sessions and their tokens: opened at sign-in, carried on by refresh tokens, ended by logout or a token's second use.

The successor of a refresh token is derived from it with a key that only gateways have. So a client that lost the answer
gets the same one again, and the database still holds nothing but hashes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.identity.accounts import Accounts
from gateway.identity.devices import Device
from gateway.identity.tokens import LIFETIME, Tokens
from gateway.sql import sessions
from gateway.sql.database import Database
from ops.secrets.secret import Secret
from schemas.envelope import derived_id
from schemas.reference import User

SESSION_DAYS = 30
#: Within this time the same device may use a refresh token again, as long as its successor is unused.
RETRY_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Refused:
    """`session_id` is set when the token was used twice or by another device, which ended that session of `user_id`."""

    session_id: str | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """`document` is what the client gets."""

    user_id: str
    document: dict[str, Any]


class Grants:
    """Makes and renews what a client signs its calls with."""

    def __init__(self, database: Database, tokens: Tokens, key: Secret) -> None:
        self._database = database
        self._tokens = tokens
        self._key = key

    async def open(self, user: User, device: Device, password_hash: str | None = None) -> Grant | None:
        """A new session of this device, bound to its key if it proved one; its places are known from now on.

        With the hash of the password that was checked: None when that was changed meanwhile. Raises Problem 503.
        """
        refresh = secrets.token_urlsafe(32)
        expires = datetime.now(UTC) + timedelta(days=SESSION_DAYS)
        opening = sessions.Opening(
            user_id=user.id,
            expires_at=expires,
            token_hash=_hash(refresh),
            device_id=device.device_id,
            source_address=device.address,
            user_agent=device.user_agent,
            jkt=device.jkt,
            places=device.places,
            password_hash=password_hash,
        )
        session_id = await sessions.insert(self._database, opening)
        if session_id is None:
            return None
        return self._grant(user, session_id, refresh, int(time.time()), expires, device.jkt)

    async def renew(self, refresh: str, device: Device, accounts: Accounts) -> Grant | Refused:
        """Rotate: the token's successor, and a new access token. Raises Problem 503."""
        successors = [_successor(key, refresh) for key in self._key.signing_keys()]
        hashes = [_hash(one) for one in successors]
        shown = sessions.Presented(_hash(refresh), hashes, device.fingerprint, device.device_id, device.jkt)
        found = await sessions.use(self._database, shown, RETRY_SECONDS)
        if found is None:
            return Refused()
        if found.reused:
            return Refused(found.session_id, found.user_id)
        user = await accounts.current(found.user_id)
        if user is None or not user.active:
            return Refused()
        successor, issued = successors[found.successor], int(found.used_at.timestamp())
        return self._grant(user, found.session_id, successor, issued, found.expires_at, found.jkt)

    def _grant(
        self, user: User, session_id: str, refresh: str, issued: int, session_ends: datetime, jkt: str | None
    ) -> Grant:
        lifetime = max(1, min(LIFETIME, int(session_ends.timestamp()) - issued))
        access = self._tokens.issue(
            user.id,
            session_id,
            user.roles,
            jti=derived_id("access token", session_id, _hash(refresh).hex()),
            issued=issued,
            lifetime=lifetime,
            jkt=jkt,
        )
        document = {
            "access_token": access,
            "token_type": "Bearer" if jkt is None else "DPoP",
            "expires_in": lifetime,
            "refresh_token": refresh,
        }
        return Grant(user.id, document)


def _successor(key: str, refresh: str) -> str:
    derived = hmac.digest(key.encode(), b"athena refresh successor", "sha256")
    return base64.urlsafe_b64encode(hmac.digest(derived, refresh.encode(), "sha256")).rstrip(b"=").decode()


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
