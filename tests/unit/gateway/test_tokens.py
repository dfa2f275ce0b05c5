"""A forged, foreign or stale token would let somebody act as somebody else."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest
from jwt import PyJWK

from gateway.identity.tokens import TokenError, Tokens
from tests.unit.gateway.conftest import AUDIENCE, ISSUER, make_jwk


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    made = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "sam",
        "sid": "s-1",
        "roles": ["sales"],
        "iat": now,
        "nbf": now,
        "exp": now + 600,
        "jti": "j-1",
    } | changes
    return {name: value for name, value in made.items() if value is not None}


def signed(jwk: dict[str, str], content: dict[str, Any], /, **header: Any) -> str:
    return jwt.encode(content, PyJWK(jwk, "EdDSA").key, "EdDSA", headers={"typ": "at+jwt", "kid": jwk["kid"]} | header)


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_own_tokens_are_read_back(tokens: Tokens) -> None:
    """Nobody could sign in."""
    found = tokens.read(tokens.issue("sam", "s-1", ("sales",), jti="j", issued=int(time.time()), lifetime=600))
    assert (found.user_id, found.session_id, found.roles) == ("sam", "s-1", frozenset({"sales"}))


def test_a_rotated_key_still_verifies(tokens: Tokens, jwks: list[dict[str, str]]) -> None:
    """A rotation of keys would sign everybody out."""
    assert tokens.read(signed(jwks[1], claims())).user_id == "sam"


def test_the_same_grant_is_the_same_token(tokens: Tokens) -> None:
    """A phone that lost an answer would get another one."""
    made = [tokens.issue("sam", "s-1", ("sales",), jti="j", issued=1_700_000_000, lifetime=600) for _ in range(2)]
    assert made[0] == made[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"exp": int(time.time())},
        {"iss": "https://evil.example"},
        {"aud": "another-api"},
        {"nbf": int(time.time()) + 86_400},
        {"iat": int(time.time()) + 86_400},
        {"sub": 7},
        {"sid": None},
        {"jti": None},
        {"exp": None},
        {"iss": None},
        {"aud": None},
        {"roles": "admin"},
        {"roles": None},
        {"exp": "9999999999"},
    ],
)
def test_claims_that_prove_nothing_are_refused(
    tokens: Tokens, jwks: list[dict[str, str]], changes: dict[str, Any]
) -> None:
    """An expired or foreign token would be as good as a fresh one."""
    with pytest.raises(TokenError):
        tokens.read(signed(jwks[0], claims(**changes)))


@pytest.mark.parametrize("header", [{"typ": "JWT"}, {"typ": None}, {"kid": "unknown"}, {"kid": ""}, {"crit": ["x"]}])
def test_other_headers_are_refused(tokens: Tokens, jwks: list[dict[str, str]], header: dict[str, Any]) -> None:
    """An ID token, or a token of another service with the same keys, would pass as an access token."""
    with pytest.raises(TokenError):
        tokens.read(signed(jwks[0], claims(), **header))


def test_a_key_named_in_the_token_is_ignored(tokens: Tokens, jwks: list[dict[str, str]]) -> None:
    """Anybody could bring a key of their own."""
    own = make_jwk("first")
    public = {name: own[name] for name in ("kty", "crv", "x")}
    for extra in ({"jwk": public}, {"jku": "https://evil.example/jwks.json"}, {"x5u": "https://evil.example/cert"}):
        with pytest.raises(TokenError):
            tokens.read(signed(own, claims(), **extra))


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "ES256", "eddsa"])
def test_other_algorithms_are_refused(tokens: Tokens, jwks: list[dict[str, str]], algorithm: str) -> None:
    """`alg: none`, or HMAC with the public key, would need no key at all."""
    header = part({"alg": algorithm, "typ": "at+jwt", "kid": "first"})
    body = f"{header}.{part(claims())}"
    for signature in ("", part("x"), base64.urlsafe_b64encode(b"\0" * 64).rstrip(b"=").decode()):
        with pytest.raises(TokenError):
            tokens.read(f"{body}.{signature}")
    with pytest.raises(TokenError):
        tokens.read(jwt.encode(claims(), jwks[0]["x"] * 2, "HS256", headers={"typ": "at+jwt", "kid": "first"}))


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b.c", "x" * 5000, "é.é.é", "e30.e30.e30", "null.null.null", "W10.W10.W10"]
)
def test_what_is_no_token_is_refused(tokens: Tokens, text: str) -> None:
    """Noise in a header would be an error of the server."""
    with pytest.raises(TokenError):
        tokens.read(text)


def test_a_bent_signature_is_refused(tokens: Tokens, jwks: list[dict[str, str]]) -> None:
    """Roles could be edited in a token."""
    token = signed(jwks[0], claims())
    head, _, signature = token.split(".")
    with pytest.raises(TokenError):
        tokens.read(f"{head}.{part(claims(roles=['admin']))}.{signature}")


@pytest.mark.parametrize(
    "keys", ["", "x", "[]", "{}", "null", "[1]", '[{"kid": "a"}]', '[{"kty":"oct","k":"AA","kid":"a"}]']
)
def test_a_gateway_without_proper_keys_does_not_start(keys: str) -> None:
    """A gateway would run that nobody can sign in to, or with a guessable key."""
    with pytest.raises(SystemExit):
        Tokens(keys, ISSUER, AUDIENCE)


def test_the_jwks_holds_no_private_part(tokens: Tokens) -> None:
    """Everybody could sign tokens."""
    assert len(tokens.jwks["keys"]) == 2
    assert all("d" not in key for key in tokens.jwks["keys"])
