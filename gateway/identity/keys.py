"""The keys of access tokens: a JSON list of private JWKs, each with its `kid`, and when it signs and is accepted.

Two members are ours, both in seconds since 1970, both may be missing: `not_before`, from when on a key signs (it is published and
accepted at once), and `retired_at`, from when on it is neither published nor accepted. The first key of the list signs whose time
has come.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from jwt import PyJWK

from gateway.identity.jws import ALGORITHMS
from ops.secrets.secret import BadSecret

MOST_KEYS = 16
#: Members of a JWK that everybody may see.
PUBLIC = ("kty", "crv", "x", "y")
_KID = re.compile(r"[A-Za-z0-9._~-]{1,64}")


@dataclass(frozen=True, slots=True, repr=False)
class TokenKey:
    """One key. `jwk` is the private JWK as it is kept; never log it."""

    jwk: dict[str, Any]
    key: PyJWK
    not_before: int
    retired_at: int | None

    @property
    def kid(self) -> str:
        return str(self.jwk["kid"])

    @property
    def algorithm(self) -> str:
        """`EdDSA` or `ES256`."""
        return self.key.algorithm_name

    def signs(self, now: float) -> bool:
        """Whether its time to sign has come."""
        return self.not_before <= now and self.accepted(now)

    def accepted(self, now: float) -> bool:
        """Whether its tokens are good."""
        return self.retired_at is None or now < self.retired_at

    def public(self) -> dict[str, str]:
        """The public JWK."""
        found = {name: str(self.jwk[name]) for name in PUBLIC if name in self.jwk}
        return found | {"kid": self.kid, "use": "sig", "alg": self.algorithm}

    def __repr__(self) -> str:
        return f"TokenKey({self.kid})"


class KeyRing:
    """All keys of a gateway at one time, in their order."""

    def __init__(self, keys: Sequence[TokenKey]) -> None:
        self.keys = tuple(keys)
        self._by_kid = {key.kid: key for key in self.keys}

    @classmethod
    def parse(cls, text: str) -> KeyRing:
        """Read the JSON list. Raises BadSecret, whose text holds nothing of it."""
        try:
            jwks = json.loads(text)
        except (ValueError, RecursionError):
            raise BadSecret("it is no JSON") from None
        if not isinstance(jwks, list) or not 1 <= len(jwks) <= MOST_KEYS:
            raise BadSecret(f"it is no JSON list of 1 to {MOST_KEYS} keys")
        ring = cls([_key(jwk, f"key {number} of {len(jwks)}") for number, jwk in enumerate(jwks, 1)])
        if len(ring._by_kid) != len(ring.keys):
            raise BadSecret("two keys have the same kid")
        if all(key.retired_at is not None for key in ring.keys):
            raise BadSecret("every key is retired or will be; none could sign")
        return ring

    def signing(self, now: float) -> TokenKey:
        """The key that signs."""
        ready = (key for key in self.keys if key.signs(now))
        return next(ready, None) or next(key for key in self.keys if key.retired_at is None)

    def accepted(self, kid: str, now: float) -> TokenKey | None:
        """The key of that name, None when there is none or it is retired."""
        key = self._by_kid.get(kid)
        return key if key is not None and key.accepted(now) else None

    def jwks(self, now: float) -> dict[str, Any]:
        """The public keys, in the order of the list: those that sign, will sign, or whose tokens are still good."""
        return {"keys": [key.public() for key in self.keys if key.accepted(now)]}


def algorithm_of(jwk: dict[str, Any]) -> str | None:
    """The one algorithm that the JWK is for; None when it is of another kind, or meant for something else than signatures."""
    algorithm = ALGORITHMS.get((str(jwk.get("kty")), str(jwk.get("crv"))))
    operations = jwk.get("key_ops", ("sign",))
    for_signatures = jwk.get("use", "sig") == "sig" and ("sign" in operations or "verify" in operations)
    return algorithm if for_signatures and jwk.get("alg", algorithm) == algorithm else None


def _key(jwk: Any, what: str) -> TokenKey:
    if not isinstance(jwk, dict) or not isinstance(jwk.get("key_ops", []), list):
        raise BadSecret(f"{what} is no JWK")
    algorithm = algorithm_of(jwk)
    if algorithm is None or "d" not in jwk:
        raise BadSecret(f"{what} is no private JWK of Ed25519 or P-256 for signatures")
    if not isinstance(jwk.get("kid"), str) or not _KID.fullmatch(jwk["kid"]):
        raise BadSecret(f"{what} has no kid of 1 to 64 letters, digits or . _ ~ -")
    times = jwk.get("not_before", 0), jwk.get("retired_at")
    if any(type(one) is not int or one < 0 for one in times if one is not None) or times[0] is None:
        raise BadSecret(f"{what}: not_before and retired_at are whole seconds since 1970")
    try:
        key = PyJWK(jwk, algorithm)
        public = key.Algorithm.to_jwk(key.key.public_key(), as_dict=True)
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
        raise BadSecret(f"{what} cannot be read as a JWK") from None
    if any(jwk.get(name) != public.get(name) for name in PUBLIC):
        raise BadSecret(f"{what}: its public half is not that of its private half")
    return TokenKey(jwk, key, *times)
