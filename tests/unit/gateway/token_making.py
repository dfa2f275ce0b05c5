"""Tokens made by hand for the attack tables: good ones, and with any header, claims or signature."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt import PyJWK

from tests.unit.gateway.conftest import AUDIENCE, ISSUER

Jwk = dict[str, Any]
#: A name, and what is presented as a token.
Attack = tuple[str, str]


def encoded(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good token; a change to None leaves the claim out."""
    now = int(time.time())
    made: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "sam.sales",
        "sid": "00000000-0000-4000-8000-000000000001",
        "roles": ["sales"],
        "iat": now,
        "nbf": now,
        "exp": now + 600,
        "jti": "j-1",
    } | changes
    return {name: value for name, value in made.items() if value is not None}


def header_of(jwk: Jwk, /, **changes: Any) -> dict[str, Any]:
    """The header of a good token; a change to None leaves the member out."""
    made = {"alg": "EdDSA", "typ": "at+jwt", "kid": jwk["kid"]} | changes
    return {name: value for name, value in made.items() if value is not None}


def token_of(jwk: Jwk, header: dict[str, Any] | str | bytes, payload: dict[str, Any] | str | bytes) -> str:
    """Signed by the key, whatever header and payload say; texts are taken as they are."""
    head, body = (encoded(one if isinstance(one, bytes) else _text(one).encode()) for one in (header, payload))
    signature = private_of(jwk).sign(f"{head}.{body}".encode())
    return f"{head}.{body}.{encoded(signature)}"


def good(jwk: Jwk) -> str:
    """A token that must be accepted."""
    return token_of(jwk, header_of(jwk), claims())


def resigned(jwk: Jwk, content: str) -> str:
    """The content, whatever it is, with a good signature."""
    return f"{content}.{encoded(private_of(jwk).sign(content.encode()))}"


def private_of(jwk: Jwk) -> Ed25519PrivateKey:
    key = PyJWK(jwk, "EdDSA").key
    assert isinstance(key, Ed25519PrivateKey)
    return key


def _text(value: dict[str, Any] | str) -> str:
    return value if isinstance(value, str) else json.dumps(value)
