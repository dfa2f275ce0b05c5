"""Passwords: changed by their owner, set for the first time by a link, and nobody else's to guess."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import httpx
import pytest

from gateway.http.problems import Problem
from gateway.identity.invitations import make, set_password
from gateway.identity.pace import PLACE
from gateway.identity.passwords import Passwords
from gateway.identity.revocations import Revocations
from gateway.services import Services
from gateway.sql import credentials, given_passwords, sessions
from gateway.sql.database import Database
from schemas.reference import User
from tests import shapes
from tests.as_gateway import as_gateway
from tests.client import PASSWORD, Api, bearer
from tests.organisation import person
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.xdist_group("identity")

NEW = "seven quiet otters"
OTHER = "nine loud herons"


def change(api: Api, grant: dict[str, Any], current: str, new: str) -> httpx.Response:
    return api.post(None, "/auth/password", {"current": current, "new": new}, headers=bearer(grant))


def pointers(answer: httpx.Response) -> list[str]:
    return [error["pointer"] for error in shapes.refused(answer, 422, "invalid")["errors"]]


def actions(api: Api, who: str) -> list[tuple[str, str]]:
    """What is on record about this person's sign-ins, newest first."""
    items = api.get("auditor", "/audit/logs", userId=who).json()["items"]
    return [(item["action"], item["outcome"]) for item in items]


def invited(house: Stack, who: str) -> str:
    """The token of a new link."""
    return as_gateway(house, lambda database: make(database, who)).token


def first(api: Api, token: str, new: str) -> httpx.Response:
    return api.post(None, "/auth/password/first", {"token": token, "new": new})


def execute(house: Stack, statement: str, *values: object) -> str:
    """Run a statement as the database's superuser; the first value, as text."""

    async def run() -> str:
        connection = await asyncpg.connect(house.postgres, timeout=10)
        try:
            return str(await connection.fetchval(statement, *values))
        finally:
            await connection.close(timeout=5)

    return asyncio.run(run())


def test_a_changed_password_ends_the_other_sessions(
    house: Stack, gateways: tuple[Api, Api], somebody: Callable[..., str]
) -> None:
    """Otherwise whoever knows the old password would stay signed in."""
    api, other = gateways
    who = somebody()
    mine, thiefs = api.login(who).json(), other.login(who).json()
    invitation = invited(house, who)
    assert change(api, mine, PASSWORD, NEW).status_code == 204
    assert api.call(None, "GET", "/users/me", headers=bearer(mine)).status_code == 200
    shapes.refused(api.call(None, "GET", "/users/me", headers=bearer(thiefs)), 401, "unauthenticated")
    shapes.refused(
        other.post(None, "/auth/refresh", {"refresh_token": thiefs["refresh_token"]}), 401, "unauthenticated"
    )
    shapes.refused(other.login(who), 401, "unauthenticated")
    shapes.answer(other.login(who, NEW), 200, shapes.grant)
    shapes.refused(first(api, invitation, OTHER), 401, "unauthenticated")
    wait_until(lambda: ("password-changed", "accepted") in actions(api, who), 20, "the change is not on record")


def test_a_bad_new_password_is_refused_with_its_place(gateways: tuple[Api, Api], somebody: Callable[..., str]) -> None:
    """Otherwise an account would be open to the first guess, or a form could not say what is wrong."""
    api, _ = gateways
    who = somebody()
    mine = api.login(who).json()
    for bad in ("too short", "password1234", f"{who}1!", "AthenaBudget2026", PASSWORD, "x" * 129):
        assert pointers(change(api, mine, PASSWORD, bad)) == ["/new"], bad
    shapes.answer(api.login(who), 200, shapes.grant)


def test_a_wrong_present_password_is_on_record_and_slowed(
    gateways: tuple[Api, Api], somebody: Callable[..., str]
) -> None:
    """Otherwise a stolen token would be enough to guess the password, and to keep the account."""
    api, _ = gateways
    who = somebody()
    mine = api.login(who).json()
    found = [change(api, mine, f"wrong {number}", NEW) for number in range(PLACE.free)]
    assert all(pointers(answer) == ["/current"] for answer in found)

    def guess(number: int) -> int:
        return change(api, mine, f"wrong again {number}", NEW).status_code

    codes = []
    while 429 not in codes:
        assert len(codes) < 30, f"never slowed: {codes}"
        with ThreadPoolExecutor(8) as threads:
            codes += list(threads.map(guess, range(8)))
    wait_until(lambda: ("password-change-failed", "refused") in actions(api, who), 20, "the guesses are not on record")
    shapes.answer(api.login(who), 200, shapes.grant)


def test_a_sign_in_that_is_underway_does_not_outlive_the_password(
    house: Stack, gateways: tuple[Api, Api], somebody: Callable[..., str]
) -> None:
    """Otherwise a thief who signs in at the right moment would survive the change."""
    who = somebody()
    opening = {
        "user_id": who, "device_id": None, "source_address": "192.0.2.1", "user_agent": None, "jkt": None, "places": [],
    }  # fmt: skip

    async def race(database: Database) -> list[str | None]:
        before, _ = await credentials.standing(database, who, ())
        expires = await database.value("SELECT now() + interval '1 day'")
        assert await credentials.give(database, who, "another hash", 1) is not None
        return [
            await sessions.insert(
                database, sessions.Opening(**opening, expires_at=expires, token_hash=token, password_hash=checked)
            )
            for token, checked in ((f"{who} 1".encode(), before), (f"{who} 2".encode(), "another hash"))
        ]

    old, new = as_gateway(house, race)
    assert old is None
    assert new is not None


def test_a_link_sets_the_first_password_once(
    house: Stack, gateways: tuple[Api, Api], somebody: Callable[..., str]
) -> None:
    """Otherwise a new colleague could not come in, or somebody who finds the link later could."""
    api, other = gateways
    who = somebody()
    execute(house, "DELETE FROM identity.credentials WHERE user_id = $1", who)
    shapes.refused(api.login(who), 401, "unauthenticated")
    void = invited(house, who)
    done = house.run("users", "invite", who, "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    token = made["token"]
    assert made["link"] == f"{house.gateway}/first-password#{token}"
    worthless = [first(api, "nobody-has-this-one", NEW), first(api, void, NEW)]
    assert pointers(first(api, token, "password1234")) == ["/new"]
    assert pointers(first(api, token, f"{who}1!")) == ["/new"]
    assert first(other, token, NEW).status_code == 204
    shapes.answer(api.login(who, NEW), 200, shapes.grant)
    worthless.append(first(api, token, OTHER))
    expired = invited(house, who)
    execute(house, "UPDATE identity.invitations SET expires_at = now() WHERE user_id = $1", who)
    worthless.append(first(api, expired, OTHER))
    foreign = invited(house, who)
    person(house, api, who, ("sales",), "emea-sales", active=False)
    worthless.append(first(api, foreign, OTHER))
    details = {shapes.refused(answer, 401, "unauthenticated")["detail"] for answer in worthless}
    assert len(details) == 1, details
    wait_until(
        lambda: {("invited", "accepted"), ("first-password-set", "accepted")} <= set(actions(api, who)),
        20,
        "the link is not on record",
    )
    assert house.run("users", "invite", who).returncode == 1


def test_an_administrator_may_give_the_first_password(
    house: Stack, gateways: tuple[Api, Api], somebody: Callable[..., str]
) -> None:
    """Otherwise a password that anybody would guess could be given, or the one before would still work."""
    who = somebody()
    before = gateways[0].login(who).json()
    user = User(id=who, version=1, email=f"{who}@athena.test", name="Olga Orlova", roles=("sales",), department_id="hq")

    async def give(database: Database) -> None:
        services = SimpleNamespace(database=database, passwords=Passwords(), revocations=Revocations(database))
        with pytest.raises(Problem) as caught:
            await set_password(cast(Services, services), user, "Orlova.Olga1")
        assert (caught.value.status, caught.value.errors[0]["pointer"]) == (422, "/password")
        await set_password(cast(Services, services), user, NEW)
        services.passwords.stop()

    as_gateway(house, give)
    shapes.refused(gateways[1].login(who), 401, "unauthenticated")
    shapes.answer(gateways[1].login(who, NEW), 200, shapes.grant)
    again = gateways[0].post(None, "/auth/refresh", {"refresh_token": before["refresh_token"]})
    shapes.refused(again, 401, "unauthenticated")


def test_an_older_change_never_brings_its_password_back(
    house: Stack, gateways: tuple[Api, Api], somebody: Callable[..., str]
) -> None:
    """Otherwise a crash at the wrong moment, or two calls at once, would let an old password in again and end all sessions."""
    who = somebody()

    async def race(database: Database) -> list[int]:
        for wave in range(10):
            versions = [10 * wave + number for number in (1, 3, 2)]
            await asyncio.gather(*(credentials.give(database, who, f"hash {one}", one) for one in versions))
            found, _ = await credentials.standing(database, who, ())
            assert found == f"hash {10 * wave + 3}"
        return [10 * wave + 3, await given_passwords.version(database, who) or 0]

    last, marked = as_gateway(house, race)
    assert marked == last, "the password is there and its version is not: its repeat would set it once more"
    user = User(id=who, version=last + 1, email=f"{who}@athena.test", name="X", roles=("sales",), department_id="hq")

    async def by_an_older_call(database: Database) -> None:
        services = SimpleNamespace(database=database, passwords=Passwords(), revocations=Revocations(database))
        await set_password(cast(Services, services), user, NEW)
        mine = gateways[0].login(who, NEW).json()
        token = await make(database, who)
        for version in (last, last + 1):
            old = user.model_copy(update={"version": version})
            await set_password(cast(Services, services), old, OTHER)
        shapes.answer(
            gateways[0].post(None, "/auth/refresh", {"refresh_token": mine["refresh_token"]}), 200, shapes.grant
        )
        assert await credentials.redeem(database, hashlib.sha256(token.token.encode()).digest(), "x") is not None
        services.passwords.stop()

    as_gateway(house, by_an_older_call)


def test_the_tokens_of_links_are_not_in_the_database(house: Stack, somebody: Callable[..., str]) -> None:
    """Otherwise whoever reads a backup could take over each account that waits for its first password."""
    who = somebody()
    token = invited(house, who)

    text = execute(house, "SELECT i::text FROM identity.invitations i WHERE user_id = $1", who)
    assert who in text
    assert token not in text
    assert token.encode().hex() not in text
