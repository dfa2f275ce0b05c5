"""Tokens that are bound to a client's key (RFC 9449): worth nothing to whoever has them without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest

from tests import shapes
from tests.client import PASSWORD, Api
from tests.proofs import Key

pytestmark = pytest.mark.xdist_group("identity")

LOGIN, REFRESH, ME = "/api/v1/auth/login", "/api/v1/auth/refresh", "/api/v1/users/me"


class Client:
    """A client of one gateway with a key."""

    def __init__(self, api: Api, key: Key | None = None) -> None:
        self.api = api
        self.key = key or Key()

    def proof(self, method: str, path: str, token: str | None = None, **changes: Any) -> str:
        return self.key.proof(method, self.api.base + path, token, **changes)

    def post(self, path: str, body: dict[str, Any], proof: str | None = None) -> httpx.Response:
        """Without cookies, so that only the key tells this client from others."""
        return httpx.post(
            self.api.base + path, json=body, headers={"DPoP": proof or self.proof("POST", path)}, timeout=40
        )

    def sign_in(self, who: str, proof: str | None = None) -> httpx.Response:
        return self.post(LOGIN, {"email": f"{who}@athena.test", "password": PASSWORD}, proof)

    def me(self, token: str, proof: str | None = None, scheme: str = "DPoP") -> httpx.Response:
        headers = [("Authorization", f"{scheme} {token}")] + ([("DPoP", proof)] if proof is not None else [])
        return self.api.http.get(ME, headers=headers)


def challenged(answer: httpx.Response, error: str) -> None:
    shapes.refused(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith(f'DPoP error="{error}"'), answer.headers["www-authenticate"]


@pytest.mark.parametrize("ed25519", [False, True], ids=["ES256", "EdDSA"])
def test_a_bound_token_works_with_a_fresh_proof_of_its_key_alone(
    gateways: tuple[Api, Api], somebody: Callable[..., str], ed25519: bool
) -> None:
    """Otherwise a token read from a log or a phone's backup would be enough to approve in its owner's name."""
    client = Client(gateways[0], Key(ed25519=ed25519))
    grant = client.sign_in(somebody()).json()
    assert grant["token_type"] == "DPoP"
    token = grant["access_token"]
    assert jwt.decode(token, options={"verify_signature": False})["cnf"] == {"jkt": client.key.jkt}
    proof = client.proof("GET", ME, token)
    assert client.me(token, proof).status_code == 200
    assert client.me(token, client.proof("GET", ME + "?a=b", token)).status_code == 200
    challenged(client.me(token, proof), "invalid_dpop_proof")
    challenged(client.me(token), "invalid_dpop_proof")
    challenged(client.me(token, client.proof("POST", ME, token)), "invalid_dpop_proof")
    challenged(client.me(token, client.proof("GET", "/api/v1/requests", token)), "invalid_dpop_proof")
    challenged(client.me(token, client.proof("GET", ME, "another.token.s")), "invalid_dpop_proof")
    challenged(client.me(token, client.proof("GET", ME)), "invalid_dpop_proof")
    challenged(client.me(token, Client(gateways[1]).key.proof("GET", client.api.base + ME, token)), "invalid_token")
    challenged(client.me(token, client.proof("GET", ME, token), scheme="Bearer"), "invalid_token")
    challenged(client.me(token, scheme="Bearer"), "invalid_token")
    other = Client(gateways[1], client.key)
    challenged(other.me(token, client.proof("GET", ME, token)), "invalid_dpop_proof")
    assert other.me(token, other.proof("GET", ME, token)).status_code == 200
    twice = [("Authorization", f"DPoP {token}"), ("DPoP", client.proof("GET", ME, token)), ("DPoP", "x")]
    # The edge refuses whatever decides and comes twice, before anybody looks at it.
    shapes.refused(client.api.http.get(ME, headers=twice), 400, "malformed")


def test_an_unbound_token_is_not_taken_for_a_bound_one(gateways: tuple[Api, Api], somebody: Callable[..., str]) -> None:
    """Otherwise a stolen plain token could be passed off as one that somebody proves to own."""
    client = Client(gateways[0])
    token = gateways[0].login(somebody()).json()["access_token"]
    challenged(client.me(token, client.proof("GET", ME, token)), "invalid_token")
    assert client.me(token, scheme="Bearer").status_code == 200


def test_a_bound_refresh_token_needs_its_key_and_a_thief_cannot_end_the_session(
    gateways: tuple[Api, Api], somebody: Callable[..., str]
) -> None:
    """Otherwise a stolen refresh token would give bound tokens to another key, or lock its owner out."""
    client, thief = Client(gateways[0]), Client(gateways[0])
    grant = client.sign_in(somebody()).json()
    body = {"refresh_token": grant["refresh_token"]}
    shapes.refused(httpx.post(client.api.base + REFRESH, json=body, timeout=40), 401, "unauthenticated")
    shapes.refused(thief.post(REFRESH, body), 401, "unauthenticated")
    proof = client.proof("POST", REFRESH)
    answer = client.post(REFRESH, body, proof)
    assert answer.status_code == 200, answer.text
    assert answer.json()["token_type"] == "DPoP"
    challenged(client.post(REFRESH, body, proof), "invalid_dpop_proof")
    assert client.post(REFRESH, body).json() == answer.json(), "a lost answer is not given again"
    assert thief.post(REFRESH, body).status_code == 401
    token = answer.json()["access_token"]
    assert client.me(token, client.proof("GET", ME, token)).status_code == 200


def test_a_sign_in_with_a_bad_proof_is_refused(gateways: tuple[Api, Api], somebody: Callable[..., str]) -> None:
    """Otherwise a client would think its tokens are bound, and they would not be."""
    client = Client(gateways[0])
    who = somebody()
    challenged(client.sign_in(who, "nonsense"), "invalid_dpop_proof")
    challenged(client.sign_in(who, client.proof("POST", REFRESH)), "invalid_dpop_proof")
    proof = client.proof("POST", LOGIN)
    assert client.sign_in(who, proof).status_code == 200
    challenged(client.sign_in(who, proof), "invalid_dpop_proof")
