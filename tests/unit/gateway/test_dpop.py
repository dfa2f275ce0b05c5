"""Proofs of possession: a stolen token must be worth nothing to whoever does not have its key."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import jwt
import pytest

from gateway.http.access import SIGNED_IN
from gateway.http.problems import Problem
from gateway.http.public import PublicUrl
from gateway.identity.callers import admit
from gateway.identity.dpop import WINDOW, ProofError, Proofs
from gateway.identity.replays import MOST_OF_ONE, Replays
from gateway.limits import rate_limited
from tests.proofs import Key, base64url, unsigned

PUBLIC = PublicUrl("https://Budget.example.com/athena/", "0.0.0.0", 8000)  # noqa: S104 - only a text here
PATH = "/api/v1/requests/a%20b"
URL = f"https://budget.example.com/athena{PATH}"
TOKEN = "a.b.c"
KEY, ED, OTHER = Key(), Key(ed25519=True), Key()
NOW = time.time()


def read(proof: str, method: str = "POST", path: str = PATH) -> str:
    return Proofs(PUBLIC, clock=lambda: NOW).read(proof, method, path, TOKEN).jkt


def made(key: Key = KEY, **changes: Any) -> str:
    return key.proof("POST", URL, TOKEN, **({"iat": int(NOW)} | changes))


@pytest.mark.parametrize("key", [KEY, ED], ids=["ES256", "EdDSA"])
def test_a_right_proof_names_its_key(key: Key) -> None:
    """Nobody could use bound tokens."""
    assert read(made(key)) == key.jkt


def test_the_thumbprint_is_that_of_the_standard() -> None:
    """Another client's or server's tokens would be bound to something else. Example of RFC 9449, 6.1."""
    proof = (
        "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpD"
        "a0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6"
        "IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGU"
        "uY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NV"
        "Y-FNyJK70nfbV37xRZT3Lg"
    )
    proofs = Proofs(PublicUrl("https://server.example.com", "", 0), clock=lambda: 1562262618.0)
    assert proofs.read(proof, "POST", "/token", None).jkt == "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


@pytest.mark.parametrize(
    "changes",
    [
        {"htu": URL + "?limit=3#part"},
        {"htu": URL.replace("https://budget.example.com", "HTTPS://BUDGET.EXAMPLE.COM:443")},
        {"iat": int(NOW) - WINDOW + 1},
        {"iat": NOW + WINDOW - 1.5},
        {"nonce": "passed over"},
    ],
)
def test_what_a_client_may_say_in_another_way(changes: dict[str, Any]) -> None:
    """A client that follows the standard would be refused."""
    assert read(made(**changes)) == KEY.jkt


def _public(**changes: Any) -> dict[str, Any]:
    return {"jwk": {name: value for name, value in (KEY.jwk | changes).items() if value is not None}}


def _private() -> dict[str, Any]:
    number = KEY.private.private_numbers().private_value  # type: ignore[union-attr]
    return _public(d=base64url(number.to_bytes(32, "big")))


def _alg(name: str) -> str:
    claims = {"jti": "j", "htm": "POST", "htu": URL, "iat": int(NOW), "ath": "x"}
    return unsigned({"typ": "dpop+jwt", "alg": name, "jwk": KEY.jwk}, claims)


def _hmac() -> str:
    claims = {"jti": "j", "htm": "POST", "htu": URL, "iat": int(NOW)}
    jwk = {"kty": "oct", "k": base64url(b"x" * 32)}
    return jwt.encode(claims, b"x" * 32, "HS256", headers={"typ": "dpop+jwt", "jwk": jwk})


def _swapped() -> str:
    head, _, signature = made().split(".")
    return ".".join([head, made(htm="GET").split(".")[1], signature])


ATTACKS: dict[str, Callable[[], str]] = {
    "nothing": lambda: "",
    "no JWT": lambda: "nonsense",
    "four parts": lambda: made() + ".x",
    "oversize": lambda: made(filler="x" * 3000),
    "nested beyond all depth": lambda: base64url(b'{"jwk":' + b"[" * 1400) + ".e30.x",
    "an access token": lambda: made(header={"typ": "at+jwt"}),
    "no type": lambda: made(header={"typ": "JWT"}),
    "type in capitals": lambda: made(header={"typ": "DPOP+JWT"}),
    "alg none": lambda: _alg("none"),
    "alg None": lambda: _alg("None"),
    "alg empty": lambda: _alg(""),
    "HS256 with the key in the header": _hmac,
    "HS256 claimed for an EC key": lambda: _alg("HS256"),
    "RS256 claimed for an EC key": lambda: _alg("RS256"),
    "EdDSA claimed for an EC key": lambda: _alg("EdDSA"),
    "no key": lambda: made(header={"jwk": None}),
    "key is a list": lambda: made(header={"jwk": [KEY.jwk]}),
    "key of another": lambda: made(header={"jwk": OTHER.jwk}),
    "private key": lambda: made(header=_private()),
    "private RSA members": lambda: made(header=_public(p="AQAB")),
    "secret member": lambda: made(header=_public(k="AQAB")),
    "certificate member": lambda: made(header=_public(x5c=["AQAB"])),
    "another curve": lambda: made(header=_public(crv="secp256k1")),
    "no curve": lambda: made(header=_public(crv=None)),
    "half a point": lambda: made(header=_public(y=None)),
    "point not on the curve": lambda: made(header=_public(y=KEY.jwk["x"])),
    "coordinate is a number": lambda: made(header=_public(x=7)),
    "empty coordinate": lambda: made(header=_public(x="")),
    "Ed25519 cut short": lambda: made(ED, header={"jwk": ED.jwk | {"x": ED.jwk["x"][:20]}}),
    "key by address": lambda: made(header={"jku": "https://attacker.example/keys"}),
    "certificate by address": lambda: made(header={"x5u": "https://attacker.example/cert"}),
    "unknown crit": lambda: made(header={"crit": ["exp"], "exp": 1}),
    "unencoded payload": lambda: made(header={"b64": False, "crit": ["b64"]}),
    "claims of another proof": _swapped,
    "signature cut off": lambda: made().rsplit(".", 1)[0] + ".",
    "signature of zeros": lambda: made().rsplit(".", 1)[0] + "." + base64url(bytes(64)),
    "no jti": lambda: made(without=("jti",)),
    "jti is a number": lambda: made(jti=7),
    "jti empty": lambda: made(jti=""),
    "jti endless": lambda: made(jti="x" * 300),
    "no htm": lambda: made(without=("htm",)),
    "htm of another method": lambda: made(htm="GET"),
    "htm in small letters": lambda: made(htm="post"),
    "htm is a list": lambda: made(htm=["POST"]),
    "no htu": lambda: made(without=("htu",)),
    "htu of another path": lambda: made(htu=URL + "/approve"),
    "htu of a shorter path": lambda: made(htu=URL[:-1]),
    "htu decoded": lambda: made(htu=URL.replace("%20", " ")),
    "htu of another host": lambda: made(htu=URL.replace("budget.", "evil.")),
    "htu of another scheme": lambda: made(htu=URL.replace("https", "http")),
    "htu of another port": lambda: made(htu=URL.replace(".com", ".com:8443")),
    "htu of a wrong port": lambda: made(htu=URL.replace(".com", ".com:99999")),
    "htu with a user": lambda: made(htu=URL.replace("https://", "https://budget.example.com@")),
    "htu is the path": lambda: made(htu=PATH),
    "htu is a number": lambda: made(htu=7),
    "no iat": lambda: made(without=("iat",)),
    "iat too old": lambda: made(iat=int(NOW) - WINDOW - 1),
    "iat in the future": lambda: made(iat=int(NOW) + WINDOW + 2),
    "iat is a text": lambda: made(iat=str(int(NOW))),
    "iat is true": lambda: made(iat=True),
    "iat is not a number": lambda: made(iat=float("nan")),
    "iat is infinite": lambda: made(iat=float("inf")),
    "iat beyond all floats": lambda: made(iat=10**400),
    "expired by its own word": lambda: made(exp=int(NOW) - 10),
    "no ath": lambda: made(without=("ath",)),
    "ath of another token": lambda: made(ath=base64url(b"x" * 32)),
    "ath is the token": lambda: made(ath=TOKEN),
    "ath is not ASCII": lambda: made(ath="ä" * 43),
    "ath padded": lambda: made(ath=base64url(hashlib.sha256(TOKEN.encode()).digest()) + "="),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused(name: str) -> None:
    """Whoever has a token, but not its key, could use it."""
    with pytest.raises(ProofError):
        read(ATTACKS[name]())


def test_a_proof_works_once_and_is_forgotten_when_it_is_too_old_anyway() -> None:
    """A proof read in a log could be used again, or the memory of them would grow for ever."""
    now = 1000.0
    replays = Replays(100.0, clock=lambda: now, most=10)
    assert replays.spend("key", "jti", "sam")
    assert not replays.spend("key", "jti", "sam")
    assert replays.seen("key", "jti")
    assert replays.spend("another key", "jti", "sam")
    for number in range(8):
        assert replays.spend("key", str(number), "sam")
    with pytest.raises(Problem) as caught:
        replays.spend("key", "one too many", "sam")
    assert caught.value.status == 503
    assert not replays.spend("key", "jti", "sam"), "an old one was dropped to make room"
    now += 101
    assert replays.spend("key", "one too many", "sam")


def test_one_user_cannot_fill_the_memory_for_all_with_many_keys() -> None:
    """A signed-in attacker could keep everybody else's proofs out."""
    replays = Replays(100.0, clock=lambda: 1000.0)
    for number in range(MOST_OF_ONE):
        replays.spend(f"key {number % 10}", str(number), "greedy")
    with pytest.raises(Problem):
        replays.spend("a new key", "more", "greedy")
    assert replays.spend("key 1", "one", "modest")


def test_a_call_beyond_the_rate_limit_uses_no_proof_up() -> None:
    """Calls that are refused anyway could fill the memory of proofs for everybody, and their proofs could not be tried again."""
    spent: list[str] = []

    async def identify(_call: object) -> tuple[object, str]:
        return SimpleNamespace(id="sam", roles=frozenset({"sales"})), "the proof"

    async def too_many(user_id: str) -> None:
        raise rate_limited(f"too many of {user_id}", 1.0, 1)

    services = SimpleNamespace(
        callers=SimpleNamespace(identify=identify),
        limits=SimpleNamespace(user=too_many),
        proofs=SimpleNamespace(spend=lambda proof, _user_id: spent.append(proof)),
    )
    with pytest.raises(Problem) as caught:
        asyncio.run(admit(cast(Any, SimpleNamespace(services=services)), SIGNED_IN))
    assert caught.value.status == 429
    assert spent == []


def test_without_a_setting_it_is_where_the_gateway_listens() -> None:
    """A developer's client would be refused, or anybody's `Host` believed."""
    local = PublicUrl("", "127.0.0.1", 8000)
    assert local.names("http://127.0.0.1:8000/a", "/a")
    assert local.names("http://localhost:8000/a", "/a")
    assert not local.names("http://evil.example:8000/a", "/a")
    assert PublicUrl("", "::1", 8000).names("http://[::1]:8000/a", "/a")
    assert PublicUrl("", "127.0.0.1", 8000, "https").names("https://localhost:8000/a", "/a")
    assert not PublicUrl("", "127.0.0.1", 8000, "https").names("http://localhost:8000/a", "/a")


@pytest.mark.parametrize(
    "url", ["budget.example.com", "ftp://budget.example.com", "https://", "https://a@b", "https://b?c"]
)
def test_a_public_address_that_is_none_stops_the_start(url: str) -> None:
    """Every proof would be refused, and nobody would know why."""
    with pytest.raises(SystemExit, match="ATHENA_PUBLIC_URL"):
        PublicUrl(url, "127.0.0.1", 8000)
