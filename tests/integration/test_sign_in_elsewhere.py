"""Signing in with an outside provider: a real one, through the real gateway, from the beginning to a session."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import httpx
import jwt
import pytest

from tests import organisation, shapes
from tests import stack as stacks
from tests.client import API, Api
from tests.fuzz import fuzz
from tests.proofs import Key
from tests.provider_front import DISCOVERY, KEYS, TOKEN, Front, Phone, provider
from tests.provider_keys import public_jwk
from tests.scripted_server import Reply, plain
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning")

CLIENT, SECRET = "athena", "the client's secret"
PORTAL, APP = "https://portal.example.com/signed-in", "com.example.athena:/signed-in"
REFUSED = "Signing in did not work, or took too long. Begin again."


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    with provider() as found:
        found.keys = [public_jwk("ES256", "ours")]
        yield found


@pytest.fixture(scope="module")
def own(front: Front) -> Iterator[Stack]:
    with stacks.own(
        ATHENA_OIDC_ISSUER=front.url,
        ATHENA_OIDC_CLIENT_ID=CLIENT,
        ATHENA_OIDC_CLIENT_SECRET=SECRET,
        ATHENA_OIDC_REDIRECT_URI=f"{PORTAL} {APP}",
        ATHENA_OIDC_EMAIL_DOMAINS="athena.test",
    ) as stack:
        yield stack


@pytest.fixture
def phone(own: Stack) -> Phone:
    return Phone(own.gateway)


@pytest.fixture(scope="module")
def admin(own: Stack) -> Api:
    return Api(own.gateway)


@pytest.fixture(scope="module")
def sam(front: Front) -> str:
    """Sam's subject at the provider."""
    front.person("sam-there", email="Sam.Sales@athena.test", email_verified=True)
    return "sam-there"


def audited(admin: Api, **filters: Any) -> list[dict[str, Any]]:
    return list(admin.get("admin", "/audit/logs", limit=200, **filters).json()["items"])


def refused(answer: httpx.Response) -> None:
    """The one answer to every sign-in that fails."""
    assert shapes.refused(answer, 401, "unauthenticated")["detail"] == REFUSED


def test_a_person_of_the_provider_gets_a_session_of_their_account(
    phone: Phone, front: Front, admin: Api, sam: str
) -> None:
    """Nobody could sign in with the company's own sign-in, or an auditor would not see that they did."""
    grant = shapes.answer(phone.sign_in(sam, device_id="sams-phone"), 200, shapes.grant)
    mine = {"Authorization": f"Bearer {grant['access_token']}"}
    me = shapes.answer(phone.http.get(f"{API}/users/me", headers=mine), 200, shapes.user)
    assert me["id"] == "sam.sales"
    renewed = phone.http.post(f"{API}/auth/refresh", json={"refresh_token": grant["refresh_token"]})
    assert renewed.status_code == 200

    asked = next(asked for asked in reversed(front.asked) if asked.path == TOKEN)
    login = base64.b64encode(f"{CLIENT}:{SECRET}".replace(" ", "+").replace("'", "%27").encode()).decode()
    assert asked.headers["authorization"] == f"Basic {login}"

    def recorded() -> bool:
        return any(item["code"] == "oidc" for item in audited(admin, userId="sam.sales", action="login"))

    wait_until(recorded, 15, "no audit record says that sam.sales signed in by the provider")
    item = next(item for item in audited(admin, userId="sam.sales", action="login") if item["code"] == "oidc")
    assert (item["outcome"], item["source_address"]) == ("accepted", phone.address)


def test_a_client_with_a_key_gets_tokens_that_are_bound_to_it(phone: Phone, own: Stack, sam: str) -> None:
    """A phone that signs in with the provider would get tokens that work for whoever copies them."""
    key, url = Key(), f"{own.gateway}{API}/auth/oidc/finish"
    attempt = phone.come_back(sam)
    bent = phone.http.post(url, json=attempt.body(), headers={"DPoP": key.proof("GET", url)})
    shapes.refused(bent, 401, "unauthenticated")
    assert bent.headers["www-authenticate"].startswith('DPoP error="invalid_dpop_proof"')
    proof = key.proof("POST", url)
    answer = phone.http.post(url, json=attempt.body(), headers={"DPoP": proof})
    assert answer.status_code == 200, "a bent proof must not use up the sign-in"
    grant = answer.json()
    assert grant["token_type"] == "DPoP"
    assert jwt.decode(grant["access_token"], options={"verify_signature": False})["cnf"] == {"jkt": key.jkt}
    as_bearer = phone.http.get(f"{API}/users/me", headers={"Authorization": f"Bearer {grant['access_token']}"})
    shapes.refused(as_bearer, 401, "unauthenticated")
    again = phone.http.post(url, json=phone.come_back(sam).body(), headers={"DPoP": proof})
    shapes.refused(again, 401, "unauthenticated")


def test_the_portal_keeps_its_refresh_token_in_a_cookie(phone: Phone, sam: str) -> None:
    """A script that does not belong to the portal would take the session away; or the portal could not stay signed in."""
    attempt = phone.come_back(sam)
    browser = {"X-Athena-Client": "browser"}
    elsewhere = phone.http.post(
        f"{API}/auth/oidc/finish", json=attempt.body(), headers=browser | {"Sec-Fetch-Site": "cross-site"}
    )
    shapes.refused(elsewhere, 403, "forbidden")
    answer = phone.http.post(f"{API}/auth/oidc/finish", json=attempt.body(), headers=browser)
    assert (answer.status_code, answer.json()["refresh_token"]) == (200, None)
    assert phone.http.post(f"{API}/auth/refresh", json={}, headers=browser).status_code == 200


def test_an_app_comes_back_to_its_own_scheme_and_to_no_other_place(phone: Phone, sam: str) -> None:
    """The app could not be used; or a code would be sent to whoever asks."""
    assert phone.finish(phone.come_back(sam, redirect_uri=APP)).status_code == 200
    for elsewhere in (
        PORTAL + "/",
        PORTAL + "?next=x",
        "https://portal.example.com.evil.example/",
        "javascript:alert(1)",
    ):
        problem = shapes.refused(phone.start("v" * 43, redirect_uri=elsewhere), 422, "invalid")
        assert problem["errors"][0]["pointer"] == "/redirect_uri"


def test_a_sign_in_is_ended_once_and_by_the_client_that_began_it(phone: Phone, front: Front, sam: str) -> None:
    """A code or a link that somebody sees, or slips to somebody, would open a session."""
    mine, theirs = phone.come_back(sam), phone.come_back(sam)
    before = front.count(TOKEN)
    refused(phone.finish(mine, code_verifier=theirs.code_verifier))
    refused(phone.finish(mine, state=theirs.state))
    refused(phone.finish(mine, state=mine.state[:-2] + ("AA" if mine.state[-2:] != "AA" else "BB")))
    assert front.count(TOKEN) == before, "a sign-in of another client must not reach the provider"
    refused(phone.finish(mine, iss="https://evil.example"))
    refused(phone.finish(theirs, code=mine.code, state=theirs.state, code_verifier=mine.code_verifier))
    assert phone.finish(mine, iss=front.url).status_code == 200
    asked = front.count(TOKEN)
    refused(phone.finish(mine))
    assert front.count(TOKEN) == asked, "a sign-in that was ended must not reach the provider again"
    # The code of a sign-in that was ended, in a new one.
    refused(phone.finish(phone.come_back(sam), code=mine.code))


def test_of_many_that_end_one_sign_in_at_once_one_gets_in(phone: Phone, sam: str) -> None:
    """A copied answer would make a second session."""
    mine = phone.come_back(sam)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: phone.finish(mine), range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 11
    for answer in answers:
        if answer.status_code == 401:
            refused(answer)


def test_what_was_used_up_long_ago_is_forgotten_and_nothing_else(own: Stack, phone: Phone, sam: str) -> None:
    """The table would grow with every sign-in; or one could be ended again while it is still good."""
    ages = "('old', now() - interval '2 hours'), ('young', now() - interval '1 minute')"

    async def ask(statement: str) -> list[str]:
        connection = await asyncpg.connect(own.postgres, timeout=10)
        try:
            return [row[0] for row in await connection.fetch(statement)]
        finally:
            await connection.close(timeout=5)

    asyncio.run(ask(f"INSERT INTO identity.provider_sign_ins VALUES {ages} RETURNING nonce"))
    assert phone.sign_in(sam).status_code == 200
    left = asyncio.run(ask("SELECT nonce FROM identity.provider_sign_ins"))
    assert "young" in left
    assert "old" not in left


def test_who_has_no_account_here_is_told_nothing(phone: Phone, front: Front, admin: Api) -> None:
    """Anybody at the provider would get in, or learn who works here."""
    front.person("stranger", email="nobody.here@athena.test", email_verified=True)
    front.person("unverified", email="admin@athena.test", email_verified=False)
    front.person("silent", email="admin@athena.test")
    front.person("guest", email="admin@evil.example", email_verified=True)
    front.person("nameless")
    answers = [phone.sign_in(subject) for subject in ("stranger", "unverified", "silent", "guest", "nameless")]
    for answer in answers:
        refused(answer)
    bodies = [answer.json() | {"correlation_id": ""} for answer in answers]
    assert all(body == bodies[0] for body in bodies)
    ids = {answer.json()["correlation_id"] for answer in answers}

    def recorded() -> bool:
        return ids <= {item["correlation_id"] for item in audited(admin, action="login-failed")}

    wait_until(recorded, 15, "refused sign-ins are not on record")


def test_an_account_stays_with_the_person_who_came_first(phone: Phone, own: Stack, front: Front, admin: Api) -> None:
    """Whoever is given a colleague's old address at the provider would get the colleague's account."""
    front.person("ana-there", email="ana.sales@athena.test", email_verified=True)
    assert phone.sign_in("ana-there").status_code == 200
    # Ana's address goes to somebody else, and Ana takes the admin's.
    front.person("newcomer", email="ana.sales@athena.test", email_verified=True)
    front.person("ana-there", email="admin@athena.test", email_verified=True)
    refused(phone.sign_in("newcomer"))
    grant = phone.sign_in("ana-there").json()
    me = phone.http.get(f"{API}/users/me", headers={"Authorization": f"Bearer {grant['access_token']}"})
    assert me.json()["id"] == "ana.sales"
    # The account is closed: the link opens nothing.
    organisation.person(own, admin, "gone.sales", ("sales",), "emea-sales")
    front.person("gone-there", email="gone.sales@athena.test", email_verified=True)
    assert phone.sign_in("gone-there").status_code == 200
    organisation.person(own, admin, "gone.sales", ("sales",), "emea-sales", active=False)
    refused(phone.sign_in("gone-there"))


def test_forged_and_bent_tokens_open_nothing(phone: Phone, front: Front, sam: str) -> None:
    """Who gets between us and the provider's people would be anybody."""
    now = int(time.time())
    with front.bent_tokens(front.signed_by("ours")):
        assert phone.sign_in(sam).status_code == 200
    bent = [
        front.signed_by("ours", nonce="other"),
        front.signed_by("ours", aud="other"),
        front.signed_by("ours", aud=[CLIENT, "other"]),
        front.signed_by("ours", iss="https://evil.example"),
        front.signed_by("ours", azp="other"),
        front.signed_by("ours", exp=now - 1),
        front.signed_by("ours", iat=now + 3600),
        front.signed_by("ours", at_hash="other"),
        front.signed_by("ours", email_verified=False),
        front.signed_by("ours", number=1),
        lambda claims: base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
        + "." + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=") + ".",
    ]  # fmt: skip
    for sign in bent:
        with front.bent_tokens(sign):
            refused(phone.sign_in(sam))


def test_a_provider_that_is_down_slow_or_broken_is_503(phone: Phone, front: Front, sam: str) -> None:
    """People would wait for ever, or be told that they are not known."""
    scripts = {
        "down": lambda _asked: None,
        "slow": lambda _asked: Reply(b"{}", pause=12.0),
        "huge": lambda _asked: Reply(b" " * 1_000_000),
        "no JSON": lambda _asked: Reply(b"<html>secret words of the provider</html>", 400),
        "broken": plain({"error": "secret words of the provider"}, 500),
        "our client is not known": plain({"error": "invalid_client", "error_description": "secret words"}, 401),
    }
    for why, script in scripts.items():
        attempt = phone.come_back(sam)
        began = time.monotonic()
        with front.scripted(TOKEN, script):
            answer = phone.finish(attempt)
        assert time.monotonic() - began < 11, why
        problem = shapes.refused(answer, 503, "unavailable")
        assert answer.headers["retry-after"]
        assert "secret" not in problem["detail"]
    attempt = phone.come_back(sam)
    front.stop()
    try:
        shapes.refused(phone.finish(attempt), 503, "unavailable")
    finally:
        front.start_again()
    with front.scripted(TOKEN, plain({"error": "invalid_grant", "error_description": "secret words"}, 400)):
        refused(phone.sign_in(sam))
    assert phone.sign_in(sam).status_code == 200


def test_after_the_providers_key_rotation_people_get_in_at_once(phone: Phone, front: Front, sam: str) -> None:
    """Nobody could sign in until the gateway is restarted; or a key that was taken back would go on working."""
    with front.bent_tokens(front.signed_by("ours")):
        assert phone.sign_in(sam).status_code == 200
    front.keys, front.hide_others = [public_jwk("ES256", "new", 2)], True
    try:
        before = front.count(KEYS)
        with front.bent_tokens(front.signed_by("new", number=2)):
            assert phone.sign_in(sam).status_code == 200
        with front.bent_tokens(front.signed_by("ours")):
            refused(phone.sign_in(sam))
        for kid in ("one", "two", "three"):
            with front.bent_tokens(front.signed_by(kid, number=2)):
                refused(phone.sign_in(sam))
        assert front.count(KEYS) == before + 1
        assert front.count(DISCOVERY) <= 2
    finally:
        front.keys, front.hide_others = [public_jwk("ES256", "ours"), *front.keys], False


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("start", {}),
        ("start", {"code_challenge": "short"}),
        ("start", {"code_challenge": "c" * 43, "code_challenge_method": "plain"}),
        ("start", {"code_challenge": "c" * 42 + "="}),
        ("finish", {"state": "s", "code": "c"}),
        ("finish", {"state": "s", "code": "c", "code_verifier": "short"}),
        ("finish", {"state": "s\n", "code": "c", "code_verifier": "v" * 43}),
        ("finish", {"state": "s", "code": "c\r\nx: y", "code_verifier": "v" * 43}),
        ("finish", {"state": "s" * 1025, "code": "c", "code_verifier": "v" * 43}),
        ("finish", {"state": "s", "code": "c" * 4097, "code_verifier": "v" * 43}),
    ],
)
def test_what_is_no_sign_in_is_refused_with_its_place(phone: Phone, path: str, body: dict[str, Any]) -> None:
    """Anything could be sent on to the provider."""
    shapes.refused(phone.http.post(f"{API}/auth/oidc/{path}", json=body), 422, "invalid")


@pytest.mark.parametrize("path", ["start", "finish"])
def test_both_steps_keep_to_the_document(own: Stack, path: str) -> None:
    """Strangers' clients would meet what nobody told them about, or break in with what nobody thought of."""
    found = fuzz.run(own.gateway, None, {}, examples=3, seed=1, only=f"{API}/auth/oidc/{path}")
    assert found.ok, found.text
    assert found.cases >= 20, found.text


def test_an_address_that_begins_too_many_is_slowed_and_others_are_not(own: Stack, phone: Phone) -> None:
    """One client could keep the provider and the gateway busy."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: phone.start(secrets.token_urlsafe(48)), range(250)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    assert next(answer for answer in answers if answer.status_code == 429).headers["retry-after"]
    assert Phone(own.gateway).start(secrets.token_urlsafe(48)).status_code == 200


def test_without_a_provider_there_is_nothing(api: Api) -> None:
    """A client could not tell that this installation signs in with passwords alone."""
    for path in ("start", "finish"):
        shapes.refused(api.post(None, f"/auth/oidc/{path}", {}), 404, "not-found")
