"""Who may call an endpoint is declared with its route."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.http.access import ADMIN, ANYONE, OVERSEER, SIGNED_IN
from gateway.http.answers import NO_CONTENT, Answer
from gateway.http.call import Call
from gateway.http.describe import Group
from gateway.routes.table import ENDPOINTS


async def _handler(_call: Call) -> Answer:
    return NO_CONTENT


@pytest.mark.parametrize("undeclared", [None, True, "admin", frozenset({"admin"})])
def test_a_route_that_does_not_say_who_may_call_it_does_not_start(undeclared: Any) -> None:
    """An endpoint that somebody forgot to protect would be open to everyone."""
    with pytest.raises(TypeError, match="GET /secrets does not declare who may call it"):
        Group("Secrets").endpoint("GET", "/secrets", undeclared, {204: None})(_handler)
    with pytest.raises(TypeError):
        Group("Secrets").endpoint("GET", "/secrets")(_handler)  # type: ignore[call-arg]


def test_only_what_must_be_is_open_to_everyone() -> None:
    """An endpoint would answer strangers."""
    assert {(each.method, each.path) for each in ENDPOINTS if not each.access.signed_in} == {
        ("POST", "/api/v1/auth/login"),
        ("POST", "/api/v1/auth/refresh"),
        ("POST", "/api/v1/auth/oidc/start"),
        ("POST", "/api/v1/auth/oidc/finish"),
        ("POST", "/api/v1/auth/password/first"),
        ("GET", "/.well-known/jwks.json"),
        ("GET", "/livez"),
        ("GET", "/readyz"),
        ("GET", "/api/v1/openapi.json"),
    }


def test_limited_is_what_not_every_signed_in_person_may() -> None:
    """The OpenAPI document would promise a 403 that never comes, or hide one that does."""
    assert not ANYONE.limited
    assert not SIGNED_IN.limited
    assert ADMIN.limited
    assert OVERSEER.limited
