"""From an `Authorization` header to a person: token, key, session, account and roles, each as they are now."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.http.access import Access
from gateway.http.call import Call
from gateway.http.problems import forbidden, unauthenticated
from gateway.identity.accounts import Accounts
from gateway.identity.dpop import Proof, Proofs, bad_binding
from gateway.identity.revocations import Revocations
from gateway.identity.tokens import Claims, TokenError, Tokens, UnknownKey
from schemas.reference import User

MAX_CACHED = 20_000
SEES_ALL = frozenset({"admin", "auditor"})


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in person. `roles` are those that both the token and the account have now, `granted` the token's, which is good
    until `expires`, in seconds since 1970; `stands_for` those whose delegate they are now, as a manager.
    """

    user: User
    roles: frozenset[str]
    session_id: str
    granted: frozenset[str] = frozenset()
    expires: float = 0.0
    stands_for: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.user.id

    @property
    def principals(self) -> tuple[str, ...]:
        """As whom they look and decide: themself, and those for whom they stand in."""
        return (self.id, *self.stands_for)

    @property
    def sees_all(self) -> bool:
        """Whether every request is theirs to see."""
        return not self.roles.isdisjoint(SEES_ALL)


class Callers:
    """Verifies each token once and remembers its claims until it expires; everything else is checked in each call."""

    def __init__(
        self,
        tokens: Tokens,
        proofs: Proofs,
        revocations: Revocations,
        accounts: Accounts,
        refetch: Callable[[], Awaitable[bool]],
    ) -> None:
        """`refetch` reads the token keys again, as seldom as it likes, and says whether there were new ones."""
        self._tokens = tokens
        self._proofs = proofs
        self._revocations = revocations
        self._accounts = accounts
        self._refetch = refetch
        self._verified: dict[bytes, Claims] = {}

    async def identify(self, call: Call) -> tuple[Caller, Proof | None]:
        """The caller, and a proof that is still to be used up.

        Raises:
            Problem: 401, or 503 when it cannot be found out whether session and account still stand.
        """
        scheme, _, given = (call.raw_headers.get(b"authorization") or b"").partition(b" ")
        token, bound = given.strip(), scheme.lower() == b"dpop"
        if not bound and scheme.lower() != b"bearer":
            raise unauthenticated()
        claims = self._verified.get(token)
        if claims is None:
            claims = await self._verify(token)
        elif claims.expires <= time.time() or not self._tokens.accepts(claims.key_id):
            self._verified.pop(token, None)
            raise unauthenticated()
        if bound != (claims.jkt is not None):
            raise bad_binding()
        proof = None if claims.jkt is None else self._proofs.of_call(call, token.decode("ascii"), claims.jkt)
        if await self._revocations.is_revoked(claims.session_id):
            raise unauthenticated()
        user = await self._accounts.current(claims.user_id)
        if user is None or not user.active:
            raise unauthenticated()
        roles = claims.roles.intersection(user.roles)
        stands_for = self._accounts.delegators_of(user.id) if "manager" in roles else ()
        return Caller(user, roles, claims.session_id, claims.roles, claims.expires, stands_for), proof

    async def _verify(self, token: bytes) -> Claims:
        try:
            text = token.decode("ascii")
            try:
                claims = self._tokens.read(text)
            except UnknownKey:
                if not await self._refetch():
                    raise
                claims = self._tokens.read(text)
        except (TokenError, UnicodeDecodeError):
            raise unauthenticated() from None
        if len(self._verified) >= MAX_CACHED:
            del self._verified[next(iter(self._verified))]
        self._verified[token] = claims
        return claims


async def admit(call: Call, access: Access) -> Caller:
    """The caller, whom `access` lets in. Only calls within the caller's rate limit use up proofs, which are remembered.

    Raises:
        Problem: 401, 429 (the caller's rate limit), 403 (which is put on record), 503.
    """
    services = call.services
    caller, proof = await services.callers.identify(call)
    await services.limits.user(caller.id)
    services.proofs.spend(proof, caller.id)
    if access.limited and caller.roles.isdisjoint(access.roles):
        services.security.note(call, "access-denied", caller.id, roles=caller.user.roles, code="forbidden")
        raise forbidden()
    return caller
