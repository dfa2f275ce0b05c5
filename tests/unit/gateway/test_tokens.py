"""What tokens are good for; what is none is refused in `test_token_attacks.py`."""

from __future__ import annotations

import time

import pytest

from gateway.identity.tokens import Tokens
from tests.unit.gateway.conftest import AUDIENCE, ISSUER
from tests.unit.gateway.token_making import good


def test_own_tokens_are_read_back(tokens: Tokens) -> None:
    """Nobody could sign in."""
    found = tokens.read(tokens.issue("sam", "s-1", ("sales",), jti="j", issued=int(time.time()), lifetime=600))
    assert (found.user_id, found.session_id, found.roles) == ("sam", "s-1", frozenset({"sales"}))


def test_a_rotated_key_still_verifies(tokens: Tokens, jwks: list[dict[str, str]]) -> None:
    """A rotation of keys would sign everybody out."""
    assert tokens.read(good(jwks[1])).user_id == "sam.sales"


def test_the_same_grant_is_the_same_token(tokens: Tokens) -> None:
    """A phone that lost an answer would get another one."""
    made = [tokens.issue("sam", "s-1", ("sales",), jti="j", issued=1_700_000_000, lifetime=600) for _ in range(2)]
    assert made[0] == made[1]


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
