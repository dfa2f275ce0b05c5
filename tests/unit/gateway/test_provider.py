"""The outside provider as a real server on loopback that behaves badly: every answer is bounded, and nothing of it believed."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.http.cursors import Cursors
from gateway.identity.provider import wire
from gateway.identity.provider.begun import Begun
from gateway.identity.provider.failures import Away, Unproven
from gateway.identity.provider.id_token import Identity
from gateway.identity.provider.provider import Provider
from gateway.identity.provider.registration import Registration
from ops.secrets.secret import Secret
from ops.secrets.sources import FileSource
from tests.provider_keys import claims, public_jwk, signed
from tests.scripted_server import Asked, Reply, ScriptedServer, plain

CLIENT = "athena"
REDIRECT = "https://portal.example.com/signed-in"
SECRET = "s & c"
CURSORS = Cursors(Secret("cursor_key", "k" * 32))
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
DISCOVERY = "/.well-known/openid-configuration"
#: An answer that hangs is given up after half a second here; the rest is a busy machine.
SECONDS = 0.5
LONGEST = 5.0


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A provider without faults, until a test scripts one."""
    found = ScriptedServer()
    found.scripts[DISCOVERY] = plain(document(found))
    found.scripts["/jwks"] = plain({"keys": [public_jwk("ES256", "first")]})
    yield found
    found.stop()


def document(server: ScriptedServer, **changes: Any) -> dict[str, Any]:
    names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
    return {"issuer": server.url, **{name: f"{server.url}/{path}" for name, path in names.items()}} | changes


def tokens(server: ScriptedServer, nonce: str, kid: str = "first", number: int = 0, **changes: Any) -> dict[str, Any]:
    """What the token endpoint answers."""
    token = signed(claims(server.url, CLIENT, nonce, **changes), "ES256", kid, number)
    return {"access_token": "a", "token_type": "Bearer", "id_token": token}


def ours(server: ScriptedServer, secret: str = SECRET, domains: frozenset[str] = frozenset()) -> Registration:
    return Registration(server.url, CLIENT, Secret("oidc_client_secret", secret), (REDIRECT,), "openid email", domains)


def signing_in(
    server: ScriptedServer, steps: Callable[[Provider], Awaitable[Any]], registration: Registration | None = None
) -> Any:
    """Run the steps with a provider of their own; returns what they return."""

    async def run() -> Any:
        provider = Provider(registration or ours(server), CURSORS)
        try:
            return await steps(provider)
        finally:
            await provider.stop()

    return asyncio.run(run())


async def whole(provider: Provider, server: ScriptedServer, **changes: Any) -> Identity:
    """From the beginning to the identity."""
    _, state = await provider.begin(CHALLENGE, REDIRECT)
    begun = await provider.check(state, VERIFIER, None)
    with server.scripted("/token", plain(tokens(server, begun.nonce, **changes))):
        return await provider.identify(begun, "the code", VERIFIER)


def test_a_sign_in_asks_for_what_the_standard_wants(server: ScriptedServer) -> None:
    """A provider would refuse us, or a stolen code would be worth something."""

    async def steps(provider: Provider) -> tuple[str, str, Identity]:
        url, state = await provider.begin(CHALLENGE, REDIRECT)
        return url, state, await whole(provider, server)

    url, state, identity = signing_in(server, steps)
    assert identity == Identity(server.url, "subject-1", "sam.sales@athena.test")
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert len(query.pop("nonce")) >= 43
    assert query == {
        "response_type": "code", "client_id": CLIENT, "redirect_uri": REDIRECT, "scope": "openid email", "state": state,
        "code_challenge": CHALLENGE, "code_challenge_method": "S256",
    }  # fmt: skip
    asked = server.asked[-2]
    assert (asked.method, asked.path) == ("POST", "/token")
    assert {name: values[0] for name, values in parse_qs(asked.body.decode()).items()} == {
        "grant_type": "authorization_code", "code": "the code", "redirect_uri": REDIRECT, "code_verifier": VERIFIER,
    }  # fmt: skip
    assert asked.headers["authorization"] == "Basic " + base64.b64encode(b"athena:s+%26+c").decode()


@pytest.mark.parametrize(("secret", "sent"), [("", None), ("secret", ["secret"])])
def test_public_clients_and_secrets_in_the_form(server: ScriptedServer, secret: str, sent: list[str] | None) -> None:
    """A provider that knows no other way could not be used."""
    server.scripts[DISCOVERY] = plain(document(server, token_endpoint_auth_methods_supported=["client_secret_post"]))
    signing_in(server, lambda provider: whole(provider, server), ours(server, secret))
    asked = next(asked for asked in server.asked if asked.path == "/token")
    form = parse_qs(asked.body.decode())
    assert (form["client_id"], form.get("client_secret")) == ([CLIENT], sent)
    assert "authorization" not in asked.headers


def test_a_changed_secret_is_taken_up_by_the_sign_in_that_finds_out(server: ScriptedServer, tmp_path: Path) -> None:
    """After a change of the client secret nobody could sign in until an operator restarts every gateway."""
    file = tmp_path / "secret"
    file.write_text("former")
    source = FileSource("ATHENA_OIDC_CLIENT_SECRET_FILE", file)
    secret = Secret("oidc_client_secret", source.read() or "", source)
    registration = replace(ours(server), secret=secret)
    file.write_text("the new one")
    wanted = "Basic " + base64.b64encode(b"athena:the+new+one").decode()

    async def steps(provider: Provider) -> Identity:
        begun = Begun.now(CHALLENGE, REDIRECT)
        good, bad = plain(tokens(server, begun.nonce)), plain({"error": "invalid_client"}, 401)
        server.scripts["/token"] = lambda asked: (good if asked.headers["authorization"] == wanted else bad)(asked)
        return await provider.identify(begun, "the code", VERIFIER)

    assert signing_in(server, steps, registration).subject == "subject-1"
    assert [asked.path for asked in server.asked].count("/token") == 2


def other(**changes: Any) -> Callable[[ScriptedServer], Any]:
    return lambda server: document(server, **changes)


UNTRUSTED: dict[str, Callable[[ScriptedServer], Any]] = {
    "another issuer": other(issuer="https://evil.example"),
    "issuer with a slash more": lambda server: document(server, issuer=server.url + "/"),
    "no issuer": other(issuer=None),
    "no token endpoint": other(token_endpoint=None),
    "token endpoint over http": other(token_endpoint="http://evil.example/token"),
    "keys over http": other(jwks_uri="http://169.254.169.254/latest/meta-data"),
    "keys in a file": other(jwks_uri="file:///etc/passwd"),
    "endpoint with a login": other(token_endpoint="https://user:secret@evil.example/token"),
    "endpoint is a list": other(token_endpoint=["https://id.example.com/token"]),
    "script for an endpoint": other(authorization_endpoint="javascript:alert(1)"),
    "no S256": other(code_challenge_methods_supported=["plain"]),
    "a list": lambda _server: [1],
}


@pytest.mark.parametrize("found", UNTRUSTED.values(), ids=UNTRUSTED)
def test_metadata_that_cannot_be_trusted_stops_the_sign_in(
    server: ScriptedServer, found: Callable[[ScriptedServer], Any]
) -> None:
    """Codes, secrets and people would be sent to whoever that is."""
    server.scripts[DISCOVERY] = plain(found(server))
    with pytest.raises(Away) as failure:
        signing_in(server, lambda provider: provider.begin(CHALLENGE, REDIRECT))
    assert failure.value.why in {"discovery", "malformed"}
    assert [asked.path for asked in server.asked] == [DISCOVERY]


def zipped(_asked: Asked) -> Reply:
    return Reply(gzip.compress(b" " * 10_000_000), headers={"content-encoding": "gzip"})


BAD: dict[str, tuple[Callable[[Asked], Reply | None], str]] = {
    "hangs up": (lambda _asked: None, "unreachable"),
    "slow": (lambda _asked: Reply(b"{}", pause=3.0), "slow"),
    "byte by byte": (lambda _asked: Reply(b" " * 40, pieces=40, pause=0.1), "slow"),
    "huge": (lambda _asked: Reply(b" " * (wire.MAX_ANSWER + 1)), "too-large"),
    "compressed": (zipped, "malformed"),
    "no JSON": (lambda _asked: Reply(b"<html>"), "malformed"),
    "half of JSON": (lambda _asked: Reply(b'{"issuer": "'), "malformed"),
    "deep JSON": (lambda _asked: Reply(b"[" * 100_000), "malformed"),
    "not UTF-8": (lambda _asked: Reply(b'{"issuer": "\xff"}'), "malformed"),
    "no content": (lambda _asked: Reply(b"", 204), "malformed"),
    "a failure": (plain({"error": "server_error"}, 500), "status"),
    "too many": (plain({"error": "slow_down"}, 429), "status"),
    "somewhere else": (plain({}, 302, location="http://169.254.169.254/latest"), "status"),
}


@pytest.mark.parametrize("path", [DISCOVERY, "/jwks", "/token"])
@pytest.mark.parametrize(("script", "why"), BAD.values(), ids=BAD)
def test_a_bad_answer_ends_the_sign_in_in_time(
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    script: Callable[[Asked], Reply | None],
    why: str,
) -> None:
    """A provider in trouble would fill the gateway's memory or hold its calls."""
    monkeypatch.setattr(wire, "TOTAL_SECONDS", SECONDS)

    async def steps(provider: Provider) -> Identity:
        server.scripts[path] = script
        begun = Begun.now(CHALLENGE, REDIRECT)
        if path == "/jwks":
            server.scripts["/token"] = plain(tokens(server, begun.nonce))
        return await provider.identify(begun, "the code", VERIFIER)

    before = time.monotonic()
    with pytest.raises(Away) as failure:
        signing_in(server, steps)
    assert time.monotonic() - before < LONGEST
    assert failure.value.why == why


def test_a_provider_that_is_down_is_asked_once_a_second_by_all(server: ScriptedServer) -> None:
    """Everybody who waits would hammer it, and wait in a line."""
    server.scripts[DISCOVERY] = plain({}, 503)

    async def steps(provider: Provider) -> list[Any]:
        many = [provider.begin(CHALLENGE, REDIRECT) for _ in range(50)]
        return await asyncio.gather(*many, return_exceptions=True)

    assert all(isinstance(found, Away) for found in signing_in(server, steps))
    assert server.count(DISCOVERY) <= 3


CODES = [
    ({"error": "invalid_grant"}, 400, Unproven),
    ({"error": "invalid_grant"}, 403, Unproven),
    ({"error": ["invalid_client"]}, 400, Unproven),
    ({}, 400, Unproven),
    ({}, 404, Unproven),
    ({"error": "invalid_client"}, 401, Away),
    ({"error": "unauthorized_client"}, 400, Away),
]


@pytest.mark.parametrize(("found", "status", "failure"), CODES)
def test_a_refused_code_is_told_from_a_refused_client(
    server: ScriptedServer, found: Any, status: int, failure: type[Exception]
) -> None:
    """An operator would search a wrong secret among people's mistakes."""
    server.scripts["/token"] = plain(found, status)
    with pytest.raises(failure):
        signing_in(server, lambda provider: provider.identify(Begun.now(CHALLENGE, REDIRECT), "code", VERIFIER))


@pytest.mark.parametrize("answer", [{}, {"id_token": None}, {"id_token": 7}, {"id_token": "a.b.c", "access_token": []}])
def test_an_answer_without_a_token_proves_nothing(server: ScriptedServer, answer: dict[str, Any]) -> None:
    """A plain OAuth answer would count as a sign-in."""
    server.scripts["/token"] = plain(answer)
    with pytest.raises(Unproven):
        signing_in(server, lambda provider: provider.identify(Begun.now(CHALLENGE, REDIRECT), "code", VERIFIER))


def test_a_new_key_is_fetched_once_and_an_unknown_one_does_not_make_us_ask_again(server: ScriptedServer) -> None:
    """After the provider's key rotation nobody could sign in; or tokens could make us hammer the provider."""

    async def steps(provider: Provider) -> None:
        await whole(provider, server)
        await whole(provider, server)
        assert server.count("/jwks") == 1
        with server.scripted("/jwks", plain({"keys": [public_jwk("ES256", "second", 1)]})):
            assert (await whole(provider, server, kid="second", number=1)).subject == "subject-1"
            assert server.count("/jwks") == 2
            for _ in range(20):
                with pytest.raises(Unproven):
                    await whole(provider, server, kid="third")
            with pytest.raises(Unproven):
                await whole(provider, server, kid="first")
        assert server.count("/jwks") == 2

    signing_in(server, steps)


def test_a_state_is_worth_something_for_its_client_alone(server: ScriptedServer) -> None:
    """Somebody could make another's phone sign in to the attacker's account, or finish what another began."""

    async def steps(provider: Provider) -> None:
        _, state = await provider.begin(CHALLENGE, REDIRECT)
        assert (await provider.check(state, VERIFIER, server.url)).redirect_uri == REDIRECT
        attempts = [(state, "w" * 43), (state[:-1] + ("A" if state[-1] != "A" else "B"), VERIFIER), ("", VERIFIER)]
        for bent, verifier in attempts:
            with pytest.raises(Unproven):
                await provider.check(bent, verifier, None)
        elsewhere = Provider(ours(server), Cursors(Secret("cursor_key", "x" * 32)))
        changed = Provider(
            Registration(server.url, "other", "", (REDIRECT,), "openid email", frozenset()),
            CURSORS,
        )
        for other_one in (elsewhere, changed):
            with pytest.raises(Unproven):
                await other_one.check(state, VERIFIER, None)
            await other_one.stop()
        old = Begun("nonce", int(time.time()) - 1, CHALLENGE, REDIRECT).state(CURSORS, provider.registration)
        gone = Begun("nonce", int(time.time()) + 9, CHALLENGE, "https://old.example/").state(
            CURSORS, provider.registration
        )
        for stale in (old, gone):
            with pytest.raises(Unproven):
                await provider.check(stale, VERIFIER, None)

    signing_in(server, steps)


@pytest.mark.parametrize("names_itself", [True, False])
def test_an_answer_of_another_provider_is_refused(server: ScriptedServer, names_itself: bool) -> None:
    """A code of one provider would be given to another (mix-up, RFC 9207)."""
    server.scripts[DISCOVERY] = plain(document(server, authorization_response_iss_parameter_supported=names_itself))

    async def steps(provider: Provider) -> None:
        _, state = await provider.begin(CHALLENGE, REDIRECT)
        await provider.check(state, VERIFIER, server.url)
        for issuer in ("https://evil.example", server.url + "/", *([None] if names_itself else [])):
            with pytest.raises(Unproven):
                await provider.check(state, VERIFIER, issuer)

    signing_in(server, steps)


def test_only_the_domains_that_are_set_are_let_in(server: ScriptedServer) -> None:
    """Guests of a shared provider would get in."""
    athena = ours(server, domains=frozenset({"athena.test"}))
    signing_in(server, lambda provider: whole(provider, server, email="Sam@ATHENA.test"), athena)
    for email in ("sam@evil.example", "sam@sub.athena.test", "sam@athena.test.evil.example", "athena.test@x"):
        with pytest.raises(Unproven):
            signing_in(server, lambda provider, email=email: whole(provider, server, email=email), athena)


def test_secrets_do_not_show(server: ScriptedServer) -> None:
    """The client secret would stand in a log line or a stack trace."""
    assert "hidden-secret" not in repr(ours(server, "hidden-secret"))
