"""The token keys' file: read strictly, and changed so that nobody is signed out."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from gateway.identity.keys import KeyRing
from gateway.identity.tokens import LIFETIME, TokenError, Tokens
from ops import token_keys
from ops.secrets.secret import BadSecret
from ops.stack.errors import StackError
from tests.unit.gateway.conftest import AUDIENCE, ISSUER, make_jwk
from tests.unit.gateway.token_making import claims, good, header_of, token_of

NOW = 1_800_000_000


def elliptic(kid: str) -> dict[str, Any]:
    return ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True) | {"kid": kid}


def ring(*jwks: dict[str, Any]) -> KeyRing:
    return KeyRing.parse(json.dumps(jwks))


def kids(found: KeyRing, now: int) -> tuple[str, list[str]]:
    """Who signs, and what is published."""
    return found.signing(now).kid, [key["kid"] for key in found.jwks(now)["keys"]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token-keys.json"
    path.write_text(json.dumps([make_jwk("old")]))
    return path


def test_a_new_key_is_published_before_it_signs_and_the_old_one_stays_as_long_as_its_tokens_live(file: Path) -> None:
    """Whoever keeps the JWKS for a while would refuse new tokens, or everybody would be signed out."""
    after = token_keys.change(file, token_keys.rotated(ahead=120), NOW)
    new = after.keys[0].kid
    assert kids(after, NOW) == ("old", [new, "old"])
    assert kids(after, NOW + 119) == ("old", [new, "old"])
    assert kids(after, NOW + 120) == (new, [new, "old"])
    assert kids(after, NOW + 120 + LIFETIME + 60) == (new, [new, "old"])
    assert kids(after, NOW + 120 + token_keys.OVERLAP) == (new, [new])
    assert kids(token_keys.read(file), NOW) == ("old", [new, "old"])


def test_a_later_rotation_removes_what_is_retired(file: Path) -> None:
    """Private keys of no use would lie there for ever."""
    token_keys.change(file, token_keys.rotated(), NOW)
    later = NOW + 120 + token_keys.OVERLAP
    assert len(token_keys.change(file, token_keys.rotated(), later).keys) == 2
    assert "old" not in file.read_text()


def test_rotating_twice_in_a_row_keeps_every_key_whose_tokens_live(file: Path) -> None:
    """An operator who is not sure and types it again would sign people out."""
    first = token_keys.change(file, token_keys.rotated(ahead=120), NOW).keys[0].kid
    second = token_keys.change(file, token_keys.rotated(ahead=120), NOW + 60)
    assert kids(second, NOW + 60)[0] == "old"
    assert kids(second, NOW + 130) == (first, [second.keys[0].kid, first, "old"])
    assert kids(second, NOW + 120 + LIFETIME)[1] == [second.keys[0].kid, first, "old"]


def test_the_file_can_be_read_by_whoever_could(file: Path) -> None:
    """A gateway that reads it as another user of the group would never see the new key."""
    file.chmod(0o640)
    token_keys.change(file, token_keys.rotated(), NOW)
    assert file.stat().st_mode & 0o777 == 0o640


def test_rotations_at_the_same_time_come_one_after_the_other(file: Path) -> None:
    """One of two new keys would be lost, and with it the tokens that it had signed."""
    threads = [threading.Thread(target=token_keys.change, args=(file, token_keys.rotated(), NOW)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(token_keys.read(file).keys) == 7


def test_a_leaked_key_is_refused_at_once_and_another_signs(file: Path) -> None:
    """A thief would sign tokens for ten minutes more, or nobody could sign in."""
    after = token_keys.change(file, token_keys.retired("old", at_once=True), NOW)
    signing, published = kids(after, NOW)
    assert signing != "old"
    assert published == [signing]


def test_a_key_that_waits_signs_at_once_when_the_one_before_it_leaks(file: Path) -> None:
    """A third key would be made although one is published already."""
    new = token_keys.change(file, token_keys.rotated(), NOW).keys[0].kid
    after = token_keys.change(file, token_keys.retired("old", at_once=True), NOW + 1)
    assert kids(after, NOW + 1) == (new, [new])


@pytest.mark.parametrize("at_once", [True, False])
def test_a_key_that_waits_can_leak_too(file: Path, at_once: bool) -> None:
    """The gateway would be left without a key that may sign for good."""
    new = token_keys.change(file, token_keys.rotated(), NOW).keys[0].kid
    if not at_once:
        with pytest.raises(token_keys.WrongKey, match="rotate"):
            token_keys.change(file, token_keys.retired(new, at_once=False), NOW)
        return
    after = token_keys.change(file, token_keys.retired(new, at_once=True), NOW)
    assert new not in kids(after, NOW)[1]
    assert after.keys[0].signs(NOW)


def test_a_key_that_is_not_there_cannot_be_retired(file: Path) -> None:
    """A mistyped name would look like a done thing."""
    before = file.read_bytes()
    with pytest.raises(token_keys.WrongKey, match="keys list"):
        token_keys.change(file, token_keys.retired("other", at_once=True), NOW)
    assert file.read_bytes() == before


def test_what_is_listed_holds_nothing_secret(file: Path) -> None:
    """`keys list` is pasted into tickets."""
    found = token_keys.read(file)
    shown = json.dumps(token_keys.described(found, NOW)) + repr(found.keys[0]) + json.dumps(found.jwks(NOW))
    assert found.keys[0].jwk["d"] not in shown
    assert {name for key in found.jwks(NOW)["keys"] for name in key} == {"kty", "crv", "x", "kid", "use", "alg"}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A wrong home would end in a traceback."""
    with pytest.raises(StackError, match="none"):
        token_keys.read(tmp_path / "none")
    (tmp_path / "bad").write_text('[{"d": "very-secret"}]')
    with pytest.raises(StackError) as error:
        token_keys.read(tmp_path / "bad")
    assert "very-secret" not in str(error.value)


GOOD = make_jwk("a")


@pytest.mark.parametrize(
    "jwks",
    [
        None, {}, [], [1], [{}], [{"kid": "a"}], [GOOD | {"kid": ""}], [GOOD | {"kid": "a b"}], [GOOD | {"kid": 7}],
        [GOOD | {"kid": "x" * 65}], [GOOD, GOOD], [GOOD | {"alg": "HS256"}], [GOOD | {"crv": "Ed448"}],
        [GOOD | {"x": make_jwk("a")["x"]}], [GOOD | {"d": "AA"}], [GOOD | {"d": ""}], [GOOD | {"x": None}],
        [{name: GOOD[name] for name in ("kty", "crv", "x", "kid")}], [{"kty": "oct", "k": "AA", "kid": "a"}],
        [GOOD | {"use": "enc"}], [GOOD | {"key_ops": ["encrypt"]}], [GOOD | {"key_ops": "sign"}], [GOOD | {"key_ops": [{}]}],
        [GOOD | {"retired_at": 1}], [GOOD | {"not_before": "1"}], [GOOD | {"not_before": -1}], [GOOD | {"not_before": True}],
        [GOOD | {"not_before": None}], [GOOD | {"retired_at": 1.5}], [make_jwk(str(n)) for n in range(17)],
        [elliptic("e") | {"crv": "P-384"}], [elliptic("e") | {"y": elliptic("e")["y"]}],
    ],
)  # fmt: skip
def test_keys_that_are_no_good_are_refused_without_being_shown(jwks: Any) -> None:
    """A gateway would sign tokens that nobody can verify, or its log would hold a private key."""
    with pytest.raises(BadSecret) as error:
        KeyRing.parse(json.dumps(jwks))
    assert GOOD["d"] not in str(error.value)


def test_p256_keys_sign_and_verify_with_their_own_algorithm_only() -> None:
    """Who keeps keys in hardware that has no Ed25519 could not run this; or one algorithm would pass for the other."""
    edwards, curve = make_jwk("ed"), elliptic("ec")
    tokens = Tokens(json.dumps([curve, edwards]), ISSUER, AUDIENCE)
    issued = tokens.issue("sam.sales", "s", ("sales",), jti="j", issued=claims()["iat"], lifetime=600)
    assert tokens.read(issued).key_id == "ec"
    assert tokens.read(good(edwards)).key_id == "ed"
    assert [key["alg"] for key in tokens.jwks["keys"]] == ["ES256", "EdDSA"]
    assert all("d" not in key for key in tokens.jwks["keys"])
    for header in ({"kid": "ec"}, {"kid": "ec", "alg": "ES256"}, {"alg": "ES256"}):
        with pytest.raises(TokenError):
            tokens.read(token_of(edwards, header_of(edwards, **header), claims()))
    assert ring(curve).signing(NOW).algorithm == "ES256"


def test_new_keys_that_are_no_good_leave_the_old_ones_in_use(tokens: Tokens, jwks: list[dict[str, str]]) -> None:
    """A slip of an operator would sign everybody out."""
    with pytest.raises(BadSecret):
        tokens.renew("[]")
    assert tokens.read(good(jwks[0])).user_id == "sam.sales"
