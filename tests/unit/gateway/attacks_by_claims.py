"""Attacks by a token's claims, all well signed, and tokens that were made for something else."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from tests.unit.gateway.conftest import AUDIENCE, ISSUER
from tests.unit.gateway.token_making import Attack, Jwk, claims, encoded, good, header_of, token_of


def odd_claims(ours: Jwk, _own: Jwk) -> Iterator[Attack]:
    now = int(time.time())
    for name in claims():
        yield f"without {name}", token_of(ours, header_of(ours), claims(**{name: None}))
    wrong: dict[str, list[Any]] = {
        "iss": [f"{ISSUER}/", f"{ISSUER}.evil.example", ISSUER.upper(), ISSUER[:-1], "https://evil.example", [ISSUER],
                "", 1, True, {ISSUER: 1}, f" {ISSUER}", f"{ISSUER}\0"],
        "aud": [[AUDIENCE], [AUDIENCE, "evil"], ["evil"], [], "", AUDIENCE.upper(), f"{AUDIENCE}-2", AUDIENCE[:-1],
                f"{AUDIENCE} ", "another-api", 1, True, {AUDIENCE: 1}, f"{AUDIENCE} evil"],
        "sub": ["", 7, True, 1.5, ["sam.sales"], {"id": "sam.sales"}, "x" * 300],
        "sid": ["", 7, True, ["s"], {}, "x" * 300],
        "jti": ["", 7, True, [], {}, "x" * 300],
        "roles": ["admin", 1, True, {"admin": 1}, [1], [True], [None], [["admin"]], ["sales", 1], ["x"] * 100],
        "exp": [now - 1, now, now - 6, 0, -1, str(now + 600), float(now + 600), True, [now + 600], {}, 2**63, 10**400,
                now + 86_400 * 365, -(2**63), now * 1000],
        "nbf": [now + 60, now + 86_400, str(now), float(now), True, [now], 2**63, -1, 10**400],
        "iat": [now + 60, now + 86_400, str(now), float(now), True, [now], 2**63, -1, 10**400],
    }  # fmt: skip
    for name, values in wrong.items():
        for value in values:
            yield f"{name} {value!r:.40}", token_of(ours, header_of(ours), claims(**{name: value}))
        yield f"{name} null", token_of(ours, header_of(ours), _with(name, "null"))
    bindings: list[Any] = [
        {}, "x", [], True, {"jkt": 1}, {"jkt": ""}, {"jkt": None}, {"jwk": {}}, {"x5t#S256": "x"}, {"jkt": "x", "jwk": {}},
    ]  # fmt: skip
    for binding in bindings:
        yield f"cnf {binding!r}", token_of(ours, header_of(ours), claims(cnf=binding))
    for text in ("NaN", "Infinity", "-Infinity", "1e999", "1e10", "9999999999.0", "0x7fffffff", "01"):
        for name in ("exp", "nbf"):
            yield f"{name} {text}", token_of(ours, header_of(ours), _with(name, text))
    body = json.dumps(claims())
    texts = {
        "sub twice": body[:-1] + ',"sub":"admin"}', "sub twice, ours last": '{"sub":"admin",' + body[1:],
        "roles twice": body[:-1] + ',"roles":["admin"]}', "exp twice": f'{{"exp":1,{body[1:]}',
        "sub twice, once escaped": body[:-1] + ',"s\\u0075b":"admin"}', "something behind it": body + "x",
        "two objects": body + "{}", "not an object": "[]", "a text": '"x"', "null": "null", "nothing": "", "no JSON": "x",
        "a nested token": None, "deep lists": '{"x":' + "[" * 1000 + "]" * 1000 + "," + body[1:],
        "a byte order mark": "\ufeff" + body,
    }  # fmt: skip
    for what, text in texts.items():
        yield f"claims: {what}", token_of(ours, header_of(ours), good(ours) if text is None else text)
    yield "claims not UTF-8", token_of(ours, header_of(ours), body.encode().replace(b"sam.sales", b"sam.\xff\xfe"))
    yield "claims in UTF-16", token_of(ours, header_of(ours), body.encode("utf-16"))
    yield "expired by 1 s", token_of(ours, header_of(ours), claims(iat=now - 601, nbf=now - 601, exp=now - 1))
    yield "lives longer than our tokens do", token_of(ours, header_of(ours), claims(iat=now, nbf=now, exp=now + 601))
    yield "issued long ago, expires far ahead", token_of(ours, header_of(ours), claims(iat=now - 86_400, nbf=now))


def environments(ours: Jwk, own: Jwk) -> Iterator[Attack]:
    named = own | {"kid": ours["kid"]}
    yield "another environment: other key, same kid", good(named)
    yield (
        "another environment: same key, other issuer",
        token_of(ours, header_of(ours), claims(iss="https://staging.athena-budget.dev")),
    )
    yield "another environment: same key, other audience", token_of(ours, header_of(ours), claims(aud="athena-staging"))
    yield "a refresh token", encoded(bytes(range(32)))
    yield "a refresh token as a JWT", token_of(ours, header_of(ours, typ="rt+jwt"), claims())
    identity = {name: value for name, value in claims().items() if name not in ("roles", "sid")}
    yield "an ID token", token_of(ours, header_of(ours, typ="JWT"), identity | {"nonce": "n", "auth_time": 1})
    yield "an ID token that says it is an access token", token_of(ours, header_of(ours), identity)


def _with(name: str, text: str) -> str:
    """The claims as JSON with one of them as this text."""
    others = json.dumps({one: value for one, value in claims().items() if one != name})
    return f'{others[:-1]},"{name}":{text}}}'
