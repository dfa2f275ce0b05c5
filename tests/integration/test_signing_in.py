"""Signing in and out over HTTP, and what tokens are worth."""

from __future__ import annotations

import base64
import json
import time

import jwt
import pytest

from tests import shapes
from tests.client import PASSWORD, Api

CLAIMS = {"iss", "aud", "sub", "sid", "roles", "iat", "nbf", "exp", "jti"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_sign_in_answers_tokens_that_the_published_keys_verify(api: Api) -> None:
    """Otherwise no other service could trust our tokens."""
    grant = shapes.answer(api.login("sue.sales"), 200, shapes.grant)
    assert grant["expires_in"] == 600
    jwks = shapes.answer(api.http.get("/.well-known/jwks.json"), 200, shapes.jwks)
    header = jwt.get_unverified_header(grant["access_token"])
    assert header["typ"] == "at+jwt"
    key = next(one for one in jwks["keys"] if one["kid"] == header["kid"])
    assert "d" not in key
    claims = jwt.decode(
        grant["access_token"],
        jwt.PyJWK(key).key,
        algorithms=["EdDSA"],
        audience="athena-api",
        issuer="https://athena-budget.dev",
    )
    assert set(claims) >= CLAIMS
    assert (claims["sub"], claims["roles"]) == ("sue.sales", ["sales"])
    assert claims["exp"] - claims["iat"] == 600


@pytest.mark.parametrize(("login", "password"), [("sue.sales", "wrong-password-1"), ("nobody.here", PASSWORD)])
def test_a_failed_sign_in_does_not_tell_why(api: Api, login: str, password: str) -> None:
    """Otherwise a stranger could find out who works here."""
    problem = shapes.refused(api.login(login, password), 401, "unauthenticated")
    other = shapes.refused(api.login("someone.else", "wrong-password-2"), 401, "unauthenticated")
    assert problem["detail"] == other["detail"]


def test_after_signing_out_the_tokens_are_worth_nothing(api: Api) -> None:
    """Otherwise a borrowed phone would stay signed in."""
    grant = api.login("ana.sales").json()
    mine = bearer(grant["access_token"])
    assert api.call(None, "GET", "/users/me", headers=mine).status_code == 200
    assert api.call(None, "POST", "/auth/logout", headers=mine).status_code == 204
    shapes.refused(api.call(None, "GET", "/users/me", headers=mine), 401, "unauthenticated")
    again = api.post(None, "/auth/refresh", {"refresh_token": grant["refresh_token"]})
    shapes.refused(again, 401, "unauthenticated")


def test_a_refresh_token_works_once(api: Api) -> None:
    """Otherwise a stolen refresh token would work for as long as the real one."""
    first = api.login("ana.sales").json()
    second = shapes.answer(
        api.post(None, "/auth/refresh", {"refresh_token": first["refresh_token"]}), 200, shapes.grant
    )
    assert second["refresh_token"] != first["refresh_token"]
    stranger = {"User-Agent": "another device"}
    reused = api.post(None, "/auth/refresh", {"refresh_token": first["refresh_token"]}, headers=stranger)
    shapes.refused(reused, 401, "unauthenticated")
    after = api.post(None, "/auth/refresh", {"refresh_token": second["refresh_token"]})
    shapes.refused(after, 401, "unauthenticated")
    shapes.refused(api.call(None, "GET", "/users/me", headers=bearer(second["access_token"])), 401, "unauthenticated")


def forged(claims: dict[str, object], header: dict[str, object]) -> str:
    parts = (header, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, ""])


def test_forged_and_bent_tokens_are_refused(api: Api) -> None:
    """Otherwise anybody could be anybody."""
    token = api.token("sam.sales")
    header, claims, signature = token.split(".")
    promoted = json.loads(base64.urlsafe_b64decode(claims + "=="))
    promoted["roles"] = ["admin"]
    body = base64.urlsafe_b64encode(json.dumps(promoted).encode()).rstrip(b"=").decode()
    good = jwt.get_unverified_header(token)
    now = int(time.time())
    hmac_signed = jwt.encode(promoted, "x" * 32, algorithm="HS256", headers={"kid": good["kid"], "typ": "at+jwt"})
    bent = [
        "nonsense",
        f"{header}.{body}.{signature}",
        f"{header}.{claims}.{signature[:-4]}AAAA",
        forged({**promoted, "exp": now + 600}, {**good, "alg": "none"}),
        hmac_signed,
        "x" * 10_000,
    ]
    for one in bent:
        shapes.refused(api.call(None, "GET", "/users/me", headers=bearer(one)), 401, "unauthenticated")


def test_nobody_gets_in_without_a_token(api: Api) -> None:
    """Otherwise a forgotten check would open the books."""
    for path in (
        "/users/me",
        "/requests",
        "/approvals/incoming",
        "/audit/logs",
        "/audit/verify",
        "/rules",
        "/categories",
    ):
        answer = api.get(None, path)
        shapes.refused(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("who", "method", "path"),
    [
        ("l1.emea", "POST", "/requests"),
        ("admin", "POST", "/requests"),
        ("sam.sales", "GET", "/approvals/incoming"),
        ("sam.sales", "GET", "/approvals/history"),
        ("sam.sales", "GET", "/audit/logs"),
        ("l1.emea", "GET", "/audit/verify"),
        ("sam.sales", "GET", "/rules"),
        ("sam.sales", "GET", "/assignments"),
        ("sam.sales", "POST", "/approvals/00000000-0000-4000-8000-000000000000/approve"),
        ("admin", "POST", "/approvals/00000000-0000-4000-8000-000000000000/approve"),
        ("auditor", "POST", "/requests/00000000-0000-4000-8000-000000000000/reassign"),
    ],
)
def test_a_role_is_asked_for_before_anything_else(api: Api, who: str, method: str, path: str) -> None:
    """Otherwise somebody could do what their role does not allow, or learn what is there."""
    sent = {"json": {"no": "such field"}} if method == "POST" else {}
    shapes.refused(api.call(who, method, path, **sent), 403, "forbidden")
