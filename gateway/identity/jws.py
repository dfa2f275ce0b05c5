"""Compact JWS of our own making, read strictly: one spelling of each token, EdDSA and ES256 alone, our keys alone.

PyJWT verifies the signature. What it is lenient about is refused here before: padding, members that are there twice, members that
we never write, numbers that are none. So no two texts are the same token, and nobody can read another meaning into one.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

import jwt
from jwt import PyJWK

#: The algorithm of a key is its own, by type and curve; what the token says must be the same.
ALGORITHMS = {("OKP", "Ed25519"): "EdDSA", ("EC", "P-256"): "ES256"}
#: All that a header of ours holds. So `jwk`, `jku`, `x5u`, `x5c`, `crit`, `b64`, `zip` and whatever comes after them are refused.
HEADER = frozenset({"alg", "kid", "typ"})
LONGEST_TOKEN = 4096
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_VERIFIER = jwt.PyJWS(algorithms=list(ALGORITHMS.values()))


class TokenError(Exception):
    """The token proves nothing."""


class UnknownKey(TokenError):
    """The token names a key that is not known here, or not any more."""


def verify(token: str, key_of: Callable[[str], PyJWK | None]) -> tuple[dict[str, str], bytes]:
    """Header and payload of a token that the key signed which its `kid` names.

    Raises:
        TokenError: it is no such token; UnknownKey where `key_of` knows no key of that name.
    """
    if len(token) > LONGEST_TOKEN:
        raise TokenError("too long")
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        raise TokenError("not three parts of base64url")
    head, _, _ = (_bytes(part) for part in parts.groups())
    header = read_object(head)
    if not header.keys() <= HEADER or not all(isinstance(value, str) for value in header.values()):
        raise TokenError("another kind of header")
    if "kid" not in header:
        raise TokenError("names no key")
    key = key_of(header["kid"])
    if key is None:
        raise UnknownKey("unknown key")
    try:
        found = _VERIFIER.decode_complete(token, key, algorithms=[key.algorithm_name])
    except (jwt.PyJWTError, ValueError) as error:
        raise TokenError(type(error).__name__) from None
    return header, found["payload"]


def read_object(data: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8 without a member that is there twice. Raises TokenError."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise TokenError(f"no JSON ({type(error).__name__})") from None
    if not isinstance(value, dict):
        raise TokenError("no JSON object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is there twice")
    return members


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _bytes(part: str) -> bytes:
    """The bytes of a part; of all its spellings only the canonical one."""
    try:
        found = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (ValueError, binascii.Error):
        raise TokenError("no base64url") from None
    if base64.urlsafe_b64encode(found).rstrip(b"=").decode() != part:
        raise TokenError("another spelling of the same bytes")
    return found
