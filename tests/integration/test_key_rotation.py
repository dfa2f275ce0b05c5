"""Keys and passwords change while two gateways serve: one has its secrets in files, the other its token keys in a secret store."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import jwt
import pytest

from ops.stack.credentials import new_token_key
from ops.stack.probes import gauge_of
from tests import gateways, shapes
from tests import stack as stacks
from tests.client import API, Api
from tests.integration.secret_store import SecretStore, secret_store
from tests.unit.gateway import test_token_attacks as attacks
from tests.unit.gateway.conftest import make_jwk
from tests.unit.gateway.token_making import good

pytestmark = pytest.mark.xdist_group("key rotation")
ROLE = "athena_gateway_of_tests"
SECRET = "athena/token-keys"
JWKS = "/.well-known/jwks.json"
#: From publishing a key to its first signature here; `athena keys rotate` has two minutes, for those who keep the JWKS.
AHEAD = 6


class Gateway(Api):
    """A gateway's API, its figures and its log."""

    def __init__(self, base: str, metrics_port: int, log: Path) -> None:
        super().__init__(base)
        self.metrics = f"http://127.0.0.1:{metrics_port}/metrics"
        self.log = log


@dataclass
class Pair:
    """Two gateways, and where their secrets are."""

    folder: Path
    store: SecretStore
    superuser: str
    filed: Gateway
    stored: Gateway

    @property
    def gateways(self) -> tuple[Api, Api]:
        return self.filed, self.stored

    def keys(self, *command: str) -> list[dict[str, Any]]:
        """Run `athena keys …` on the file, and bring what it wrote to the secret store, as an operator would."""
        done = stacks.athena("keys", *command, "--json", "--file", str(self.folder / "keys"))
        assert done.returncode == 0, done.stderr
        self.store.put(SECRET, (self.folder / "keys").read_text())
        return list(json.loads(done.stdout)["keys"])

    def write(self, name: str, text: str) -> None:
        """Replace a secret's file."""
        (self.folder / "new").write_text(text)
        (self.folder / "new").replace(self.folder / name)


@pytest.fixture(scope="module")
def plain(request: pytest.FixtureRequest) -> Iterator[stacks.Stack]:
    """A stack whose services sign in to PostgreSQL with passwords, which rotate; under TLS certificates stand in their place."""
    if os.environ.get(stacks.TLS) == "1":
        with stacks.own(**{stacks.TLS: "0", "ATHENA_RATE_LIMITS": "off"}) as own:
            yield own
    else:
        yield request.getfixturevalue("stack")


@pytest.fixture(scope="module")
def pair(plain: stacks.Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("secrets")
    text = json.dumps([new_token_key()])
    (folder / "keys").write_text(text)
    (folder / "cursor").write_text(secrets.token_urlsafe(40))
    with secret_store() as store, role(plain.postgres, "first") as login:
        store.put(SECRET, text)
        (folder / "url").write_text(login)
        filed = {
            "ATHENA_TOKEN_KEYS_FILE": str(folder / "keys"),
            "ATHENA_CURSOR_KEY_FILE": str(folder / "cursor"),
            "ATHENA_DATABASE_URL_FILE": str(folder / "url"),
        }
        stored = {"ATHENA_TOKEN_KEYS_FILE": "", "ATHENA_TOKEN_KEYS_AWS": SECRET, "ATHENA_AWS_SECRETS_SECONDS": "3"}
        with (
            gateway(plain, filed) as one,
            gateway(plain, store.environment | filed | stored) as other,
        ):
            yield Pair(folder, store, plain.postgres, one, other)


@contextmanager
def gateway(stack: stacks.Stack, settings: dict[str, str]) -> Iterator[Gateway]:
    """A gateway of the stack with settings of its own."""
    with gateways.started(stack, **{"ATHENA_RATE_LIMITS": "off"} | settings) as one:
        yield Gateway(one.base, one.metrics_port, one.log)


@contextmanager
def role(superuser: str, password: str) -> Iterator[str]:
    """A further login of the gateway's role; its URL."""
    parts = urlsplit(superuser)
    execute(superuser, f"CREATE ROLE {ROLE} LOGIN PASSWORD '{password}' IN ROLE athena_gateway")
    try:
        yield urlunsplit(parts._replace(netloc=f"{ROLE}:{password}@{parts.hostname}:{parts.port}"))
    finally:
        execute(superuser, f"DROP ROLE {ROLE}")


def execute(url: str, statement: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            await connection.execute(statement, timeout=20)
        finally:
            await connection.close(timeout=5)

    asyncio.run(run())


def me(gateway: Api, token: str) -> int:
    return gateway.http.get(f"{API}/users/me", headers={"Authorization": f"Bearer {token}"}).status_code


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


class Client(threading.Thread):
    """A person who goes on working: calls with the newest token and with the first one, and refreshes now and then."""

    def __init__(self, pair: Pair, login: str, ended: threading.Event) -> None:
        super().__init__(name=login)
        self._gateways = pair.gateways
        self._ended = ended
        grant = pair.filed.login(login).json()
        self._first, self._token, self._refresh = grant["access_token"], grant["access_token"], grant["refresh_token"]
        self.calls = 0
        self.failed: list[str] = []
        #: When each key was first seen to sign.
        self.signed: dict[str, float] = {kid_of(self._token): time.time()}

    def run(self) -> None:
        try:
            for turn in itertools.count():
                if self._ended.wait(0.02):
                    return
                gateway = self._gateways[turn % 2]
                if turn % 7 == 0:
                    self._renew(gateway)
                for token in (self._token, self._first):
                    self._count("call", me(gateway, token))
        except httpx.HTTPError as error:
            self.failed.append(repr(error))

    def _renew(self, gateway: Api) -> None:
        answer = gateway.post(None, "/auth/refresh", {"refresh_token": self._refresh})
        self._count("refresh", answer.status_code)
        grant = answer.json()
        self._token, self._refresh = grant["access_token"], grant["refresh_token"]
        self.signed.setdefault(kid_of(self._token), time.time())

    def _count(self, what: str, status: int) -> None:
        self.calls += 1
        if status != 200:
            self.failed.append(f"{what}: {status}")


def published(gateways: tuple[Api, Api], ended: threading.Event, seen: dict[tuple[int, str], float]) -> None:
    """Notes when each gateway first published each key."""
    while not ended.wait(0.05):
        for number, gateway in enumerate(gateways):
            for key in gateway.http.get(JWKS).json()["keys"]:
                seen.setdefault((number, key["kid"]), time.time())


def test_the_published_keys_are_public_short_lived_and_in_one_order(pair: Pair) -> None:
    """Private keys would be given away, or a verifier would keep keys for longer than a rotation waits."""
    answers = [gateway.http.get(JWKS) for gateway in pair.gateways for _ in range(2)]
    assert len({answer.content for answer in answers}) == 1
    shapes.answer(answers[0], 200, shapes.jwks)
    assert answers[0].headers.get_list("cache-control") == ["public, max-age=30"]
    private = json.loads((pair.folder / "keys").read_text())[0]["d"]
    assert private not in answers[0].text


def test_attacks_on_a_running_gateway_are_refused(pair: Pair) -> None:
    """What the table of attacks shows of a function would not hold for the product."""
    ours = json.loads((pair.folder / "keys").read_text())[0]
    assert me(pair.filed, good(ours)) == 200
    sent, passed = 0, []
    for make, _ in attacks.GROUPS.values():
        for name, text in make(ours, make_jwk("evil")):
            if text and text.isascii() and text.isprintable() and text.strip() == text and len(text) < 8000:
                sent += 1
                if me(pair.filed, text) != 401:
                    passed.append(name)
    assert not passed
    assert sent > 450


def test_a_rotation_fails_no_call_and_signs_nobody_out(pair: Pair) -> None:
    """A rotation would have to wait for a night when nobody works, and so would never come."""
    ended, seen = threading.Event(), dict[tuple[int, str], float]()
    clients = [Client(pair, login, ended) for login in ("sam.sales", "l1.emea", "auditor")]
    watcher = threading.Thread(target=published, args=(pair.gateways, ended, seen))
    for thread in (*clients, watcher):
        thread.start()
    try:
        time.sleep(0.5)
        new, old = pair.keys("rotate", "--ahead", str(AHEAD))
        assert (new["state"], old["state"]) == ("next", "signs")
        renewed = lambda: all(new["kid"] in client.signed for client in clients)  # noqa: E731
        stacks.wait_until(renewed, 60, "not everybody got a token under the new key")
        time.sleep(1)
    finally:
        ended.set()
        for thread in (*clients, watcher):
            thread.join(60)
    assert not [failure for client in clients for failure in client.failed]
    assert sum(client.calls for client in clients) > 200
    assert all(set(client.signed) == {old["kid"], new["kid"]} for client in clients)
    first_signature = min(client.signed[new["kid"]] for client in clients)
    # Both gateways had it by then, without a restart.
    assert all(seen[number, new["kid"]] < first_signature for number in range(2))
    states = {key["kid"]: key["state"] for key in pair.keys("list")}
    assert states == {new["kid"]: "signs", old["kid"]: "retiring"}


def test_a_key_that_signs_at_once_is_fetched_when_its_first_token_comes(pair: Pair) -> None:
    """Whoever signs in at one gateway would be refused at the other until that had looked."""
    new = pair.keys("rotate", "--ahead", "0")[0]["kid"]
    tokens: list[str] = []

    def signs() -> bool:
        tokens.append(pair.filed.login("sam.sales").json()["access_token"])
        return kid_of(tokens[-1]) == new

    stacks.wait_until(signs, 15, "the new key does not sign")
    assert me(pair.stored, tokens[-1]) == 200


def test_a_leaked_key_is_worth_nothing_within_seconds_and_nobody_must_sign_in_again(pair: Pair) -> None:
    """A thief would go on for ten minutes, or everybody would have to find their password."""
    grant = pair.filed.login("sam.sales").json()
    token = grant["access_token"]
    assert [me(gateway, token) for gateway in pair.gateways] == [200, 200]
    kid = kid_of(token)
    pair.keys("retire", kid, "--now")
    for gateway in pair.gateways:
        stacks.wait_until(lambda gateway=gateway: me(gateway, token) == 401, 15, "the key is still accepted")
        assert kid not in gateway.http.get(JWKS).text
    renewed = pair.stored.post(None, "/auth/refresh", {"refresh_token": grant["refresh_token"]})
    assert renewed.status_code == 200
    assert kid_of(renewed.json()["access_token"]) != kid
    assert [me(gateway, renewed.json()["access_token"]) for gateway in pair.gateways] == [200, 200]


def test_keys_that_are_no_good_are_not_taken(pair: Pair) -> None:
    """A slip would sign everybody out, and the alert would come from them."""
    before = (pair.folder / "keys").read_text()
    token = pair.filed.login("sam.sales").json()["access_token"]
    stale = 'athena_secret_stale{name="token_keys"}'
    pair.write("keys", '[{"kid": "a", "d": "very-secret"}]')
    stacks.wait_until(lambda: gauge_of(pair.filed.metrics, stale) == 1, 15, "nobody is told")
    assert me(pair.filed, token) == 200
    assert pair.filed.login("sue.sales").status_code == 200
    pair.write("keys", before)
    stacks.wait_until(lambda: gauge_of(pair.filed.metrics, stale) == 0, 15, "the alert stays")
    assert "very-secret" not in pair.filed.log.read_text()


def test_lists_and_lost_answers_outlive_a_new_cursor_key(pair: Pair) -> None:
    """People would be thrown out of their lists, and a phone that lost an answer would be signed out."""
    gateway = pair.filed
    reloaded = 'athena_secret_reloads_total{name="cursor_key",result="reloaded"}'
    for _ in range(2):
        gateway.submit()
    first = gateway.get("sam.sales", "/requests", limit=1).json()
    grant = gateway.login("sam.sales").json()
    pair.write("cursor", secrets.token_urlsafe(40))
    before = gateway.post(None, "/auth/refresh", {"refresh_token": grant["refresh_token"]}).json()
    stacks.wait_until(lambda: gauge_of(gateway.metrics, reloaded) == 1, 8, "the new key is not used")
    second = gateway.get("sam.sales", "/requests", limit=1, cursor=first["next_cursor"])
    assert second.status_code == 200
    again = gateway.post(None, "/auth/refresh", {"refresh_token": grant["refresh_token"]})
    assert again.status_code == 200
    assert again.json()["refresh_token"] == before["refresh_token"]


def test_a_new_database_password_is_taken_whichever_side_changes_first(pair: Pair) -> None:
    """A rotated password would need a restart at the very same moment."""
    token = pair.filed.login("sam.sales").json()["access_token"]
    url = (pair.folder / "url").read_text()

    def serves() -> bool:
        execute(pair.superuser, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'")
        return bool(pair.filed.http.get("/readyz").json()["checks"]["postgres"]) and me(pair.filed, token) == 200

    pair.write("url", url.replace(":first@", ":second@"))
    time.sleep(2.5)
    stacks.wait_until(serves, 15, "the former password is not used while the new one is refused")
    execute(pair.superuser, f"ALTER ROLE {ROLE} PASSWORD 'second'")
    stacks.wait_until(serves, 15, "the new password is not used")
    execute(pair.superuser, f"ALTER ROLE {ROLE} PASSWORD 'third'")
    pair.write("url", url.replace(":first@", ":third@"))
    stacks.wait_until(serves, 15, "a password that was changed in PostgreSQL first is not used")
    log = pair.filed.log.read_text()
    assert not [word for word in (":first@", ":second@", ":third@") if word in log]
