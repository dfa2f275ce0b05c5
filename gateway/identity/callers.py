"""From an `Authorization` header to a person: token, session, account and roles, each as they are now."""

from __future__ import annotations

import time
from dataclasses import dataclass

from gateway.http.access import Access
from gateway.http.call import Call
from gateway.http.problems import forbidden, unauthenticated
from gateway.identity.revocations import Revocations
from gateway.identity.tokens import Claims, TokenError, Tokens
from schemas.catalog import Catalog
from schemas.reference import User

MAX_CACHED = 20_000
SEES_ALL = frozenset({"admin", "auditor"})


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in person. `roles` are those that both the token and the account have now."""

    user: User
    roles: frozenset[str]
    session_id: str

    @property
    def id(self) -> str:
        return self.user.id

    @property
    def sees_all(self) -> bool:
        """Whether every request is theirs to see."""
        return not self.roles.isdisjoint(SEES_ALL)


class Callers:
    """Verifies each token once and remembers its claims until it expires; everything else is checked in each call."""

    def __init__(self, tokens: Tokens, revocations: Revocations, catalog: Catalog) -> None:
        self._tokens = tokens
        self._revocations = revocations
        self._catalog = catalog
        self._verified: dict[bytes, Claims] = {}

    async def identify(self, authorization: bytes | None) -> Caller:
        """The caller. Raises Problem 401, or 503 when it cannot be found out whether the session still stands."""
        if authorization is None:
            raise unauthenticated()
        claims = self._verified.get(authorization)
        if claims is None:
            claims = self._verify(authorization)
        elif claims.expires <= time.time():
            self._verified.pop(authorization, None)
            raise unauthenticated()
        if await self._revocations.is_revoked(claims.session_id):
            raise unauthenticated()
        user = self._catalog.users.get(claims.user_id)
        if user is None or not user.active:
            raise unauthenticated()
        return Caller(user, claims.roles.intersection(user.roles), claims.session_id)

    def _verify(self, authorization: bytes) -> Claims:
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            raise unauthenticated()
        try:
            claims = self._tokens.read(token.strip().decode("ascii"))
        except (TokenError, UnicodeDecodeError):
            raise unauthenticated() from None
        if len(self._verified) >= MAX_CACHED:
            del self._verified[next(iter(self._verified))]
        self._verified[authorization] = claims
        return claims


async def admit(call: Call, access: Access) -> Caller:
    """The caller, whom `access` lets in.

    Raises:
        Problem: 401, 429 (the caller's rate limit), 403 (which is put on record).
    """
    services = call.services
    caller = await services.callers.identify(call.raw_headers.get(b"authorization"))
    services.limits.user(caller.id)
    if access.limited and caller.roles.isdisjoint(access.roles):
        services.security.note(call, "access-denied", caller.id, roles=caller.user.roles, code="forbidden")
        raise forbidden()
    return caller
