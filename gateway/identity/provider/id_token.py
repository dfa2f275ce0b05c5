"""ID tokens, verified per OpenID Connect Core 1.0, 3.1.3.7 and RFC 8725: fixed algorithms, the provider's published keys."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK

from gateway.identity.provider.failures import Unproven

LONGEST = 16 * 1024
#: How far ahead the provider's clock may be, and how old a fresh token may be; seconds.
SKEW = 30
OLDEST = 600
LEAST_RSA_BITS = 2048
LONGEST_SUBJECT = 255


@dataclass(frozen=True, slots=True)
class _Algorithm:
    """`hash` is that of `at_hash`."""

    kty: str
    curve: str | None
    members: tuple[str, ...]
    hash: Callable[[bytes], Any]


_ALGORITHMS = {
    "RS256": _Algorithm("RSA", None, ("n", "e"), hashlib.sha256),
    "PS256": _Algorithm("RSA", None, ("n", "e"), hashlib.sha256),
    "ES256": _Algorithm("EC", "P-256", ("crv", "x", "y"), hashlib.sha256),
    "EdDSA": _Algorithm("OKP", "Ed25519", ("crv", "x"), hashlib.sha512),
}


@dataclass(frozen=True, slots=True)
class Header:
    """How a token says that it is signed; nothing else of its header is looked at."""

    algorithm: str
    kid: str | None


@dataclass(frozen=True, slots=True)
class Key:
    """A public key that fits the header's algorithm."""

    public: Any


@dataclass(frozen=True, slots=True)
class Expected:
    """What the token must have been made for."""

    issuer: str
    client_id: str
    nonce: str
    access_token: str | None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is at the provider: `subject` is theirs for good, `email` was verified and is in lower case."""

    issuer: str
    subject: str
    email: str


def header_of(token: object) -> Header:
    """Raises Unproven for what is no token, or signed as we do not take it."""
    if not isinstance(token, str) or len(token) > LONGEST:
        raise Unproven("token", "there is no ID token, or an overlong one")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError) as error:
        raise Unproven("token", f"the ID token cannot be read: {type(error).__name__}") from None
    algorithm, kid, typ = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
        raise Unproven("token", "the ID token is signed with another algorithm")
    if not isinstance(typ, str) or typ.upper() != "JWT" or "crit" in header:
        raise Unproven("token", "this is another kind of token")
    if kid is not None and not isinstance(kid, str):
        raise Unproven("token", "the ID token's kid is no text")
    return Header(algorithm, kid)


def pick(keys: Sequence[dict[str, Any]], header: Header) -> Key | None:
    """The one published key that the header names and that fits its algorithm; without `kid` the only one that fits."""
    found = [key for key in keys if header.kid is None or key.get("kid") == header.kid]
    fitting = [key for each in found if (key := _usable(each, header.algorithm)) is not None]
    return fitting[0] if len(fitting) == 1 else None


def _usable(jwk: dict[str, Any], name: str) -> Key | None:
    wanted = _ALGORITHMS[name]
    if jwk.get("kty") != wanted.kty or jwk.get("crv") != wanted.curve or jwk.get("alg", name) != name:
        return None
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        public = PyJWK({"kty": wanted.kty, **{member: jwk[member] for member in wanted.members}}, name).key
    except (jwt.PyJWTError, KeyError, TypeError, ValueError):
        return None
    if isinstance(public, RSAPublicKey) and public.key_size < LEAST_RSA_BITS:
        return None
    return Key(public)


def verify(token: str, header: Header, key: Key, expected: Expected) -> Identity:
    """Whom the token names.

    Raises:
        Unproven: it is not a valid, fresh token of this provider for this sign-in, or its e-mail address is not verified.
    """
    try:
        claims = jwt.decode(
            token,
            key.public,
            algorithms=[header.algorithm],
            audience=expected.client_id,
            issuer=expected.issuer,
            leeway=SKEW,
            options={"require": ["iss", "sub", "aud", "exp", "iat", "nonce"]},
        )
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
        raise Unproven("token", f"the ID token is not valid: {type(error).__name__}") from None
    _check(claims, header, expected)
    return Identity(expected.issuer, claims["sub"], _email(claims))


def _check(claims: dict[str, Any], header: Header, expected: Expected) -> None:
    now = time.time()
    subject, nonce, issued, expires = claims["sub"], claims["nonce"], claims["iat"], claims["exp"]
    if claims["aud"] not in (expected.client_id, [expected.client_id]):
        raise Unproven("token", "the ID token is for others too")
    if claims.get("azp", expected.client_id) != expected.client_id:
        raise Unproven("token", "the ID token was made for another client")
    if not isinstance(nonce, str) or not _same(nonce, expected.nonce):
        raise Unproven("token", "the ID token is of another sign-in")
    if type(issued) not in (int, float) or type(expires) not in (int, float):
        raise Unproven("token", "the ID token's times are no numbers")
    if expires <= now or issued < now - OLDEST:
        raise Unproven("token", "the ID token is too old")
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT or not subject.isascii():
        raise Unproven("token", "the ID token's subject is none")
    if "at_hash" in claims:
        _check_access_token(claims["at_hash"], header, expected.access_token)


def _check_access_token(at_hash: object, header: Header, access_token: str | None) -> None:
    digest: bytes = _ALGORITHMS[header.algorithm].hash((access_token or "").encode()).digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    if access_token is None or not isinstance(at_hash, str) or not _same(at_hash, half):
        raise Unproven("token", "the ID token is of another access token")


def _email(claims: dict[str, Any]) -> str:
    email = claims.get("email")
    if claims.get("email_verified") is not True:
        raise Unproven("email", "the provider has not verified the e-mail address")
    # Beyond ASCII two addresses may become the same in lower case: the Kelvin sign and k.
    if not isinstance(email, str) or not email.isascii() or email.count("@") != 1:
        raise Unproven("email", "the provider names no e-mail address that can be used")
    return email.lower()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
