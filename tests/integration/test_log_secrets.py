"""A story with sign-ins, attacks and broken servers, after which no log and no output holds a secret."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import gateways
from tests.client import PASSWORD, Api
from tests.faults.proxy import Proxy
from tests.gateways import Gateway
from tests.stack import Stack, athena, wait_until

#: Passwords that a story tries in vain; nothing else in the world has them.
WRONG = [f"Wr0ng-{secrets.token_hex(12)}" for _ in range(6)]


def of_home(stack: Stack) -> dict[str, str]:
    """Every secret of the stack's home and of the parts within it, by where it is from."""
    found: dict[str, str] = {}
    for path in stack.home.secrets.iterdir():
        text = path.read_text(encoding="utf-8").strip()
        if path.name.startswith("database-url-"):
            continue  # its password is that of a role
        if path.suffix == ".json":
            found |= {f"{path.name} {number}": key["d"] for number, key in enumerate(json.loads(text))}
        elif "PRIVATE KEY" in text:
            found |= {f"{path.name} {n}": line for n, line in enumerate(text.splitlines()) if "-----" not in line}
        else:
            found[path.name] = text
    assert len(found) >= 8, found.keys()
    return found


def texts(stack: Stack, *more: Path) -> Iterator[tuple[str, str]]:
    """All that the stack's processes and servers have written for people to read."""
    servers = Path(stack.home.choices()["servers"])
    places = [*stack.home.logs.iterdir(), *servers.rglob("*.log"), *more]
    for path in places:
        if path.is_file():
            yield str(path), path.read_text(encoding="utf-8", errors="replace")


def signs_in_and_out(gateway: Gateway, used: list[str]) -> None:
    """Tokens of all kinds, good, old, bent, and where they do not belong."""
    with httpx.Client(base_url=f"{gateway.base}/api/v1", timeout=40) as client:
        for password in (PASSWORD, WRONG[0]):
            client.post("/auth/login", json={"email": "sue.sales@athena.test", "password": password})
        grant = client.post("/auth/login", json={"email": "sue.sales@athena.test", "password": PASSWORD}).json()
        used += [grant["access_token"], grant["refresh_token"]]
        bearer = {"Authorization": f"Bearer {grant['access_token']}"}
        assert client.get("/users/me", headers=bearer).status_code == 200
        client.get("/users/me", params={"token": grant["access_token"], "password": WRONG[1]}, headers=bearer)
        client.get(f"/users/{grant['refresh_token']}", headers=bearer)
        client.get("/users/me", headers={"Authorization": f"Basic {grant['refresh_token']}"})
        client.get("/users/me", headers={"Authorization": f"Bearer {grant['access_token'][:-4]}"})
        client.post(
            "/auth/login",
            content=f'{{"email": "x", "password": "{WRONG[2]}"',
            headers={"Content-Type": "application/json"},
        )
        client.post("/auth/login", json={"email": WRONG[3], "password": [WRONG[3]], WRONG[3]: WRONG[3]})
        renewed = client.post("/auth/refresh", json={"refresh_token": grant["refresh_token"]}).json()
        used += [renewed["access_token"], renewed["refresh_token"]]
        other = {"User-Agent": renewed["refresh_token"]}
        assert (
            client.post("/auth/refresh", json={"refresh_token": grant["refresh_token"]}, headers=other).status_code
            == 401
        )
        used += client.cookies.values()
        assert len(used) > 4, "the device's cookie is a secret too"
        client.post("/auth/logout", headers={"Authorization": f"Bearer {renewed['access_token']}"})


def without_database(gateway: Gateway, line: Proxy, token: str, *, hangs: bool) -> None:
    """Calls while the database refuses connections, and then, if it `hangs`, while it lets no byte through."""
    bearer = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"{gateway.base}/api/v1", timeout=40) as client:
        line.refuse()
        client.post("/auth/login", json={"email": "sue.sales@athena.test", "password": WRONG[4]})
        if hangs:
            line.swallow()
            client.get("/requests", headers=bearer)
        line.heal()
        wait_until(lambda: client.get("/requests", headers=bearer).status_code == 200, 40, "not back")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_log_holds_a_secret(stack: Stack, api: Api, log_format: str) -> None:
    """Otherwise whoever may read logs, or the tool that collects them, could act as anybody."""
    used: list[str] = []
    url = stack.home.database_url("gateway")
    line = Proxy(lambda: ("127.0.0.1", stack.home.port("postgres")))
    settings = {
        "ATHENA_DATABASE_URL": stack.home.database_url("gateway", line.address),
        "ATHENA_DATABASE_URL_FILE": "",
        "ATHENA_LOG_FORMAT": log_format,
        "ATHENA_LOG_LEVEL": "DEBUG",
    }
    try:
        with gateways.started(stack, **settings) as gateway:
            signs_in_and_out(gateway, used)
            used.append(api.token("auditor"))
            without_database(gateway, line, used[-1], hangs=log_format == "json")
            found = dict(texts(stack, gateway.log))
            assert "PostgreSQL does not answer" in found[str(gateway.log)]
    finally:
        line.close()
    hidden = (
        of_home(stack)
        | {f"token {n}": token for n, token in enumerate(used)}
        | {f"wrong {n}": p for n, p in enumerate(WRONG)}
    )
    assert url not in "".join(found.values())
    leaks = [(what, where) for what, secret in hidden.items() for where, text in found.items() if secret in text]
    assert not leaks
    assert not [where for where, text in found.items() if PASSWORD in text and Path(where).name != "up.log"]


def starts_with(stack: Stack, **settings: str) -> str:
    """What a gateway with wrong settings says before it ends, or while it cannot begin."""
    own = stack.home.environment("gateway") | {"ATHENA_GATEWAY_PORT": "0", "ATHENA_METRICS_PORT": "0"}
    done = athena("gateway", seconds=40, **(own | settings))
    assert done.returncode != 0
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ATHENA_TOKEN_KEYS", '[{"kty": "OKP", "d": "SECRET"}]'),
        ("ATHENA_REDIS_URL", "http://:SECRET@127.0.0.1/0"),
        ("ATHENA_PARTITIONS", "SECRET"),
        ("ATHENA_DATABASE_URL", "postgresql://athena_gateway:p4ss:SECRET/SECRET@x@127.0.0.1:1/athena"),
        ("ATHENA_TOKEN_KEYS_FILE", "/nowhere/SECRET"),
    ],
)
def test_wrong_settings_are_named_and_not_shown(stack: Stack, variable: str, value: str) -> None:
    """Otherwise a secret that was put into the wrong variable would be printed where it is collected."""
    secret = "" if variable.endswith("_FILE") else f"s3cret-{secrets.token_hex(12)}"
    said = starts_with(stack, **{f"{variable}_FILE": "", variable: value.replace("SECRET", secret)})
    assert variable in said
    assert len(said) < 1000, "one sentence"
    assert "Traceback" not in said
    assert not secret or secret not in said
