"""ID tokens of the outside provider: what is taken, and every way to forge one that is not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.identity.provider.failures import Unproven
from gateway.identity.provider.id_token import Expected, Header, Identity, header_of, pick, verify
from tests.provider_keys import claims, private, public_jwk, signed

ISSUER = "https://id.example.com/realms/work"
CLIENT = "athena"
NONCE = "n-0S6_WzA2Mj"
ACCESS = "the access token"
GOOD = ("RS256", "PS256", "ES256", "EdDSA")


def published(**more: Any) -> list[dict[str, Any]]:
    return [public_jwk(algorithm, algorithm.lower(), **more) for algorithm in GOOD]


def read(token: object, keys: list[dict[str, Any]] | None = None, access_token: str | None = ACCESS) -> Identity:
    """As the gateway reads it."""
    header = header_of(token)
    key = pick(published() if keys is None else keys, header)
    if key is None:
        raise Unproven("token", "no such key")
    return verify(str(token), header, key, Expected(ISSUER, CLIENT, NONCE, access_token))


def token(algorithm: str = "ES256", header: dict[str, Any] | None = None, **changes: Any) -> str:
    found = {"kid": algorithm.lower()} | (header or {})
    return signed(claims(ISSUER, CLIENT, NONCE, **changes), algorithm, **found)


def half_hash(name: str, text: str) -> str:
    digest = hashlib.new(name, text.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", GOOD)
def test_a_good_token_names_its_person(algorithm: str) -> None:
    """Nobody could sign in with a provider that signs that way."""
    digest = "sha512" if algorithm == "EdDSA" else "sha256"
    found = read(token(algorithm, email="Sam.Sales@Athena.test", azp=CLIENT, at_hash=half_hash(digest, ACCESS)))
    assert found == Identity(ISSUER, "subject-1", "sam.sales@athena.test")


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": [CLIENT]},
        {"iat": int(time.time()) + 20},
        {"iat": time.time() - 5.5},
        {"nbf": int(time.time())},
        {"roles": ["admin"], "extra": {"anything": [1, 2]}},
    ],
)
def test_what_providers_may_do_differently_is_taken(changes: dict[str, Any]) -> None:
    """Signing in would fail with a provider that keeps to the standard."""
    assert read(token(**changes)).subject == "subject-1"


def test_a_token_without_kid_is_taken_where_one_key_fits() -> None:
    """A small provider with one key could not be used."""
    one = [public_jwk("ES256", None)]
    assert read(signed(claims(ISSUER, CLIENT, NONCE), "ES256", None), one).subject == "subject-1"
    with pytest.raises(Unproven):
        read(signed(claims(ISSUER, CLIENT, NONCE), "ES256", None), [*one, public_jwk("ES256", None, 1)])


NOW = int(time.time())
CLAIMS: dict[str, dict[str, Any]] = {
    "no issuer": {"iss": None},
    "another issuer": {"iss": "https://id.example.com/realms/play"},
    "issuer with a slash more": {"iss": ISSUER + "/"},
    "issuer in other letters": {"iss": ISSUER.upper()},
    "issuers in a list": {"iss": [ISSUER]},
    "no audience": {"aud": None},
    "another client": {"aud": "other"},
    "part of our name": {"aud": CLIENT[:-1]},
    "our name in other letters": {"aud": CLIENT.upper()},
    "for others too": {"aud": [CLIENT, "other"]},
    "for us twice": {"aud": [CLIENT, CLIENT]},
    "for nobody": {"aud": []},
    "audience is a number": {"aud": 7},
    "made for another client": {"azp": "other"},
    "azp in a list": {"azp": [CLIENT]},
    "no nonce": {"nonce": None},
    "another nonce": {"nonce": "other"},
    "empty nonce": {"nonce": ""},
    "nonce beyond ASCII": {"nonce": "ñ"},
    "nonces in a list": {"nonce": [NONCE]},
    "no end": {"exp": None},
    "over for a second": {"exp": NOW - 1},
    "over for an hour": {"exp": NOW - 3600},
    "end is a text": {"exp": str(NOW + 300)},
    "end is true": {"exp": True},
    "end is no number": {"exp": float("nan")},
    "end is infinite": {"exp": float("inf")},
    "no beginning": {"iat": None},
    "made in the future": {"iat": NOW + 3600},
    "made long ago": {"iat": NOW - 3600},
    "beginning is a text": {"iat": str(NOW)},
    "beginning is true": {"iat": True},
    "not yet valid": {"nbf": NOW + 3600},
    "no subject": {"sub": None},
    "empty subject": {"sub": ""},
    "subject is a number": {"sub": 7},
    "overlong subject": {"sub": "s" * 256},
    "subject beyond ASCII": {"sub": "süb"},
    "another access token": {"at_hash": half_hash("sha256", "other")},
    "whole hash": {"at_hash": base64.urlsafe_b64encode(hashlib.sha256(ACCESS.encode()).digest()).decode()},
    "hash is a number": {"at_hash": 7},
}
EMAILS: dict[str, dict[str, Any]] = {
    "not verified": {"email_verified": False},
    "nothing said": {"email_verified": None},
    "verified as a text": {"email_verified": "true"},
    "verified as a number": {"email_verified": 1},
    "no address": {"email": None},
    "address is a list": {"email": ["sam.sales@athena.test"]},
    "address without at": {"email": "sam.sales"},
    "two ats": {"email": "sam.sales@athena.test@evil.example"},
    "Kelvin sign for k": {"email": "\u212aim@athena.test"},
}


@pytest.mark.parametrize("changes", CLAIMS.values(), ids=CLAIMS)
def test_a_token_for_something_else_is_refused(changes: dict[str, Any]) -> None:
    """A token that somebody got elsewhere, or earlier, would open an account here."""
    with pytest.raises(Unproven) as found:
        read(token(**changes))
    assert found.value.why == "token"


@pytest.mark.parametrize("changes", EMAILS.values(), ids=EMAILS)
def test_an_address_that_is_not_proven_is_refused(changes: dict[str, Any]) -> None:
    """Who types another's address at the provider would get that account."""
    with pytest.raises(Unproven) as found:
        read(token(**changes))
    assert found.value.why == "email"


def unsigned(algorithm: str, **header: Any) -> str:
    parts = ({"alg": algorithm, "typ": "JWT", "kid": "es256", **header}, claims(ISSUER, CLIENT, NONCE))
    return ".".join(
        [*(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts), ""]
    )


def hmac_signed(algorithm: str, kid: str) -> str:
    """Signed with what everybody can read: the public key's own text."""
    text = unsigned(algorithm, kid=kid)[:-1]
    secret = private("RS256").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    mac = hmac.digest(secret, text.encode(), f"sha{algorithm[2:]}")
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def bent(part: int) -> str:
    parts = token().split(".")
    parts[part] = parts[part][:-3] + ("AAA" if not parts[part].endswith("AAA") else "BBB")
    return ".".join(parts)


def other_claims() -> str:
    """A good token's header and signature around the claims of somebody else."""
    mine, theirs = token().split("."), token(email="admin@athena.test").split(".")
    return ".".join([mine[0], theirs[1], mine[2]])


FORGED = {
    **{f"alg {name}": unsigned(name) for name in ("none", "None", "NONE", "nOnE", "", "HS256", "ES256", "RS256")},
    "HS256 with the public key": hmac_signed("HS256", "rs256"),
    "HS512 with the public key": hmac_signed("HS512", "es256"),
    "another key under a known name": signed(claims(ISSUER, CLIENT, NONCE), "ES256", "es256", number=1),
    "another key with its own jwk": signed(
        claims(ISSUER, CLIENT, NONCE), "ES256", "es256", 1, jwk=public_jwk("ES256", "es256", 1)
    ),
    "another key with jku": signed(claims(ISSUER, CLIENT, NONCE), "ES256", "es256", 1, jku="https://evil.example/jwks"),
    "another key with x5u": signed(claims(ISSUER, CLIENT, NONCE), "ES256", "es256", 1, x5u="https://evil.example/x"),
    "another algorithm's key": token(header={"kid": "rs256"}),
    "RS256 under a PS256 key": token("RS256", header={"kid": "ps256"}),
    "unknown key": token(header={"kid": "other"}),
    "key name with a path": token(header={"kid": "../../dev/null"}),
    "key name with SQL": token(header={"kid": "es256' OR '1'='1"}),
    "empty key name": token(header={"kid": ""}),
    "critical extension": token(header={"crit": ["b64"], "b64": True}),
    "an access token": token(header={"typ": "at+jwt"}),
    "a logout token": token(header={"typ": "logout+jwt"}),
    "bent header": bent(0),
    "bent claims": bent(1),
    "bent signature": bent(2),
    "somebody else's claims": other_claims(),
    "no signature": token().rpartition(".")[0] + ".",
    "two parts": token().rpartition(".")[0],
    "four parts": token() + ".AAAA",
    "claims in a list": jwt.PyJWS().encode(b"[1]", private("ES256"), "ES256", {"kid": "es256"}),
    "claims no JSON": jwt.PyJWS().encode(b"{", private("ES256"), "ES256", {"kid": "es256"}),
    "ES384": signed(claims(ISSUER, CLIENT, NONCE), "ES384", "es256"),
    "overlong": token(padding="x" * 20_000),
    "empty": "",
    "nothing": None,
    "a number": 7,
    "not ASCII": "é.é.é",
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_forged_token_is_refused(forged: object) -> None:
    """Anybody could sign in as anybody."""
    with pytest.raises(Unproven):
        read(forged)


KEYS: dict[str, dict[str, Any]] = {
    "for encryption": {"use": "enc"},
    "for another operation": {"key_ops": ["encrypt"]},
    "operations are none": {"key_ops": 7},
    "for another algorithm": {"alg": "ES512"},
    "another curve": {"crv": "P-384"},
    "no point": {"x": None},
    "point is a number": {"x": 7},
    "off the curve": {"x": base64.urlsafe_b64encode(b"\x01" * 32).rstrip(b"=").decode()},
    "another type": {"kty": "oct", "k": "c2VjcmV0"},
}


@pytest.mark.parametrize("changes", KEYS.values(), ids=KEYS)
def test_a_key_that_is_not_for_this_is_not_used(changes: dict[str, Any]) -> None:
    """A key that was made for something else, or is none, would speak for people."""
    assert pick([public_jwk("ES256", "es256", **changes)], header_of(token())) is None


def test_weak_and_doubled_keys_are_not_used() -> None:
    """A key that can be broken, or a name that means two keys, would speak for people."""
    assert pick([public_jwk("RS256-1024", "weak")], Header("RS256", "weak")) is None
    assert pick([public_jwk("ES256", "es256"), public_jwk("ES256", "es256", 1)], header_of(token())) is None


def test_a_hash_without_its_access_token_is_refused() -> None:
    """The token would be of an answer from which something was taken away."""
    with pytest.raises(Unproven):
        read(token(at_hash=half_hash("sha256", "")), access_token=None)
