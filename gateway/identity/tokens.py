"""Access tokens: JWTs per RFC 9068 and RFC 8725, signed and verified with our keys alone, chosen by `kid` alone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any

import jwt
from jwt import PyJWK
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.identity import jws
from gateway.identity.jws import TokenError, UnknownKey
from gateway.identity.keys import KeyRing
from ops.secrets.secret import BadSecret
from ops.stack.errors import WrongSettings

__all__ = ["LIFETIME", "SKEW", "Claims", "TokenError", "Tokens", "UnknownKey"]

TYPE = "at+jwt"
#: RFC 9068, 4: both spellings of the one type, and no other.
TYPES = frozenset({TYPE, f"application/{TYPE}"})
LIFETIME = 600
#: How far ahead another gateway's clock may be, in seconds. It counts for the beginning of a token's time, not for its end.
SKEW = 5

_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Seconds = Annotated[int, Field(ge=0, le=2**40)]


class _Confirmation(BaseModel):
    """What a token is bound to. One that is bound in a way that is not known here is worth nothing."""

    model_config = ConfigDict(strict=True, extra="forbid")

    jkt: _Name


class _Payload(BaseModel):
    """What a token of ours holds, each of its own type; whatever else it holds is left alone."""

    model_config = ConfigDict(strict=True, extra="ignore")

    iss: _Name
    aud: _Name
    sub: _Name
    sid: _Name
    roles: Annotated[list[_Name], Field(max_length=16)]
    iat: _Seconds
    nbf: _Seconds
    exp: _Seconds
    jti: _Name
    cnf: _Confirmation | None = None


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says.

    `expires` in seconds since 1970, `key_id` names the key that signed it, `jkt` is the thumbprint of the key that it is bound to.
    """

    user_id: str
    session_id: str
    roles: frozenset[str]
    expires: float
    key_id: str
    jkt: str | None = None


class Tokens:
    """Signs with the key whose turn it is, verifies with all that are not retired."""

    def __init__(self, keys: str, issuer: str, audience: str) -> None:
        """`keys` as `gateway.identity.keys` has them. Raises SystemExit for what is none."""
        try:
            self._ring = KeyRing.parse(keys)
        except BadSecret as error:
            raise WrongSettings(
                f"ATHENA_TOKEN_KEYS must be a JSON list of Ed25519 private keys as JWKs with kid: {error}."
            ) from None
        self._issuer = issuer
        self._audience = audience

    def renew(self, keys: str) -> None:
        """Use these keys from now on. Raises BadSecret and changes nothing for what is none."""
        self._ring = KeyRing.parse(keys)

    @property
    def jwks(self) -> dict[str, Any]:
        """The public keys, as `GET /.well-known/jwks.json` answers them."""
        return self._ring.jwks(time.time())

    def accepts(self, key_id: str) -> bool:
        """Whether tokens of this key are good now."""
        return self._ring.accepted(key_id, time.time()) is not None

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
        """A signed token, valid for `lifetime` seconds from `issued`; under an Ed25519 key the same arguments give the same one."""
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
        key = self._ring.signing(time.time())
        return jwt.encode(claims, key.key, algorithm=key.algorithm, headers={"typ": TYPE, "kid": key.kid})

    def read(self, token: str) -> Claims:
        """The claims of a token that is ours and valid now.

        Raises:
            TokenError: it is not; UnknownKey when it names a key that is not known here.
        """
        header, payload = jws.verify(token, self._key)
        if header.get("typ", "").lower() not in TYPES:
            raise TokenError("another kind of token")
        try:
            found = _Payload.model_validate(jws.read_object(payload))
        except ValidationError as error:
            raise TokenError(f"odd claims: {error.error_count()}") from None
        now = time.time()
        if (found.iss, found.aud) != (self._issuer, self._audience):
            raise TokenError("of another issuer, or for another audience")
        if found.exp <= now:
            raise TokenError("expired")
        if max(found.iat, found.nbf) > now + SKEW:
            raise TokenError("not yet valid")
        if found.exp - min(found.iat, found.nbf) > LIFETIME:
            # Ended sessions are remembered for as long as a token may live.
            raise TokenError("lives too long")
        bound_to = None if found.cnf is None else found.cnf.jkt
        return Claims(found.sub, found.sid, frozenset(found.roles), float(found.exp), header["kid"], bound_to)

    def _key(self, kid: str) -> PyJWK | None:
        found = self._ring.accepted(kid, time.time())
        return None if found is None else found.key
