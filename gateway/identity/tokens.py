"""Access tokens: JWTs per RFC 9068 and RFC 8725. EdDSA alone, our keys alone, chosen by `kid` alone."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import jwt
from jwt import PyJWK

ALGORITHM = "EdDSA"
TYPE = "at+jwt"
LIFETIME = 600
#: How far ahead another gateway's clock may be, in seconds.
SKEW = 5
LONGEST_TOKEN = 4096


class TokenError(Exception):
    """The token proves nothing."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says; `expires` in seconds since 1970, `jkt` the thumbprint of the key it is bound to (RFC 9449)."""

    user_id: str
    session_id: str
    roles: frozenset[str]
    expires: float
    jkt: str | None = None


class Tokens:
    """Signs with the first key, verifies with all of them."""

    def __init__(self, keys: str, issuer: str, audience: str) -> None:
        """`keys` is the JSON list of private OKP JWKs. Raises SystemExit for what is none."""
        try:
            jwks = json.loads(keys)
            self._keys = {jwk["kid"]: PyJWK(jwk, ALGORITHM) for jwk in jwks}
            if not self._keys or any(jwk["kty"] != "OKP" or "d" not in jwk for jwk in jwks):
                raise ValueError("no private OKP key")
        except (ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
            raise SystemExit(
                "ATHENA_TOKEN_KEYS must be a JSON list of Ed25519 private keys as JWKs with kid; "
                f"found something else ({type(error).__name__})."
            ) from None
        self._signing: str = jwks[0]["kid"]
        self._issuer = issuer
        self._audience = audience
        public = ("kty", "crv", "x", "kid")
        self.jwks = {"keys": [{k: jwk[k] for k in public} | {"use": "sig", "alg": ALGORITHM} for jwk in jwks]}

    def issue(
        self,
        user_id: str,
        session_id: str,
        roles: tuple[str, ...],
        *,
        jti: str,
        issued: int,
        lifetime: int,
        jkt: str | None = None,
    ) -> str:
        """A signed token, valid for `lifetime` seconds from `issued`; the same arguments give the same token."""
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": user_id,
            "sid": session_id,
            "roles": list(roles),
            "iat": issued,
            "nbf": issued,
            "exp": issued + lifetime,
            "jti": jti,
        }
        if jkt is not None:
            claims["cnf"] = {"jkt": jkt}
        key = self._keys[self._signing].key
        return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"typ": TYPE, "kid": self._signing})

    def read(self, token: str) -> Claims:
        """The claims of a token that is ours and valid now.

        Raises:
            TokenError: it is not.
        """
        if len(token) > LONGEST_TOKEN:
            raise TokenError("too long")
        try:
            header = jwt.get_unverified_header(token)
            if str(header.get("typ", "")).lower() != TYPE or header.get("alg") != ALGORITHM or "crit" in header:
                raise TokenError("another kind of token")
            kid = header.get("kid")
            key = self._keys.get(kid) if isinstance(kid, str) else None
            if key is None:
                raise TokenError("unknown key")
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                leeway=SKEW,
                options={"require": ["iss", "aud", "sub", "sid", "roles", "iat", "nbf", "exp", "jti"]},
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise TokenError(type(error).__name__) from None
        user, session, roles, expires = claims["sub"], claims["sid"], claims["roles"], claims["exp"]
        if not isinstance(user, str) or not isinstance(session, str) or not isinstance(roles, list):
            raise TokenError("odd claims")
        if not isinstance(expires, int) or expires <= time.time():
            raise TokenError("expired")
        return Claims(
            user, session, frozenset(str(role) for role in roles), float(expires), _bound_to(claims.get("cnf"))
        )


def _bound_to(confirmation: object) -> str | None:
    """The thumbprint in `cnf`. A token bound in a way that is not known here is worth nothing."""
    if confirmation is None:
        return None
    if not isinstance(confirmation, dict) or confirmation.keys() != {"jkt"} or not isinstance(confirmation["jkt"], str):
        raise TokenError("bound in another way")
    return confirmation["jkt"]
