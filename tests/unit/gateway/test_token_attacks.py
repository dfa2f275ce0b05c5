"""Each text of the attack table is refused as a token, and never an error of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from gateway.identity.tokens import TokenError, Tokens
from tests.unit.gateway import attacks_by_bytes, attacks_by_claims, attacks_by_header
from tests.unit.gateway.conftest import AUDIENCE, ISSUER, make_jwk
from tests.unit.gateway.token_making import Attack, Jwk, claims, good, header_of, token_of

OURS, ATTACKERS = make_jwk("first"), make_jwk("evil")
#: Each makes its attacks on a verifier that has the first key (and may have more), the second is the attacker's; and how many.
GROUPS: dict[str, tuple[Callable[[Jwk, Jwk], Iterator[Attack]], int]] = {
    "algorithms": (attacks_by_header.algorithms, 72),
    "keys brought along": (attacks_by_header.brought_keys, 24),
    "kid": (attacks_by_header.kids, 83),
    "header": (attacks_by_header.headers, 67),
    "claims": (attacks_by_claims.odd_claims, 152),
    "other environments and other tokens": (attacks_by_claims.environments, 7),
    "encodings": (attacks_by_bytes.encodings, 63),
    "signatures": (attacks_by_bytes.signatures, 56),
    "shapes": (attacks_by_bytes.shapes, 32),
}


@pytest.fixture(scope="module")
def verifier() -> Tokens:
    return Tokens(json.dumps([OURS, make_jwk("second")]), ISSUER, AUDIENCE)


@pytest.mark.parametrize("group", GROUPS)
def test_an_attack_is_refused(verifier: Tokens, group: str) -> None:
    """One of these would let somebody act as somebody else, or bring the gateway to an error."""
    attacks, count = GROUPS[group]
    table = dict(attacks(OURS, ATTACKERS))
    assert len(table) == count
    assert verifier.read(good(OURS)).user_id == "sam.sales"
    passed = [name for name, text in table.items() if not _refused(verifier, text)]
    assert not passed


@pytest.mark.parametrize("kind", ["at+jwt", "AT+JWT", "application/at+jwt"])
def test_both_names_of_the_type_are_taken(verifier: Tokens, kind: str) -> None:
    """RFC 9068 has two spellings of one type; a verifier that knows one would refuse good tokens."""
    assert verifier.read(token_of(OURS, header_of(OURS, typ=kind), claims())).session_id


def _refused(verifier: Tokens, text: str) -> bool:
    try:
        verifier.read(text)
    except TokenError:
        return True
    return False
