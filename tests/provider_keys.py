"""Keys of a test's own sign-in provider, and ID tokens signed with them: good ones and odd ones."""

from __future__ import annotations

import json
import time
from functools import lru_cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import get_default_algorithms

_MAKE = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "PS256": lambda: rsa.generate_private_key(65537, 2048),
    "RS256-1024": lambda: rsa.generate_private_key(65537, 1024),  # noqa: S505 - to be refused
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": Ed25519PrivateKey.generate,
}


@lru_cache
def private(algorithm: str, number: int = 0) -> Any:
    """The private key of that number for an algorithm; made once."""
    return _MAKE[algorithm]()


def public_jwk(algorithm: str, kid: str | None, number: int = 0, **more: Any) -> dict[str, Any]:
    """Its public key as a provider publishes it."""
    name = algorithm.partition("-")[0]
    jwk = json.loads(get_default_algorithms()[name].to_jwk(private(algorithm, number).public_key()))
    jwk.pop("key_ops", None)
    return jwk | {"use": "sig", "alg": name} | ({} if kid is None else {"kid": kid}) | more


def claims(issuer: str, client_id: str, nonce: str, /, **changes: Any) -> dict[str, Any]:
    """Those of a good ID token; a change of None takes one out."""
    now = int(time.time())
    found = {
        "iss": issuer,
        "sub": "subject-1",
        "aud": client_id,
        "exp": now + 300,
        "iat": now,
        "nonce": nonce,
        "email": "sam.sales@athena.test",
        "email_verified": True,
    }
    return {name: value for name, value in (found | changes).items() if value is not None}


def signed(payload: dict[str, Any], algorithm: str, kid: str | None, number: int = 0, **header: Any) -> str:
    """Any claims as a signed token; a header of None takes one out."""
    name = algorithm.partition("-")[0]
    found = {"kid": kid, "typ": "JWT"} | header
    headers = {field: value for field, value in found.items() if value is not None or field == "typ"}
    return jwt.PyJWS().encode(json.dumps(payload).encode(), private(algorithm, number), name, headers)
