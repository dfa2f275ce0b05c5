"""Accounts of a gateway that hears no changes of them: what PostgreSQL knows counts too."""

from __future__ import annotations

import asyncio

import pytest

from gateway.http.problems import Problem
from gateway.identity.accounts import BLIND_AFTER, Accounts
from gateway.sql.accounts import stored
from gateway.sql.database import Database
from schemas.catalog import Catalog
from schemas.reference import User
from tests.as_gateway import as_gateway
from tests.stack import Stack


async def never(_seconds: float) -> bool:
    """A broker that does not answer."""
    return False


async def at_once(_seconds: float) -> bool:
    return True


def holding(*users: User) -> Catalog:
    catalog = Catalog()
    for user in users:
        catalog.put(user)
    return catalog


def test_without_word_from_kafka_only_what_both_know_holds(stack: Stack) -> None:
    """Otherwise somebody who lost a role, or was let go, could go on for as long as a gateway hears nothing."""

    async def test(database: Database) -> None:
        now = await stored(database, "l1.emea")
        assert now is not None
        assert now.active
        more = now.model_copy(update={"roles": (*now.roles, "admin"), "version": now.version - 1})
        less = now.model_copy(update={"roles": ("sales",), "active": False, "version": now.version + 1})
        unknown = now.model_copy(update={"id": "nobody.knows"})
        for user, roles, active in ((more, now.roles, True), (less, (), False)):
            found = await Accounts(holding(user), database, never).current(user.id)
            assert found is not None
            assert (found.roles, found.active) == (roles, active)
        assert await Accounts(holding(unknown), database, never).current(unknown.id) is None

    as_gateway(stack, test)


def test_the_database_is_asked_only_without_word_from_kafka() -> None:
    """Otherwise a frozen database would stop calls that need none, or nobody would be asked at all."""
    user = User(id="sam", version=1, email="sam@athena.test", name="Sam", roles=("sales",), department_id="d")
    away, now = Database("postgres://nowhere"), 1000.0

    async def test() -> None:
        nonlocal now
        found = Accounts(holding(user), away, at_once, clock=lambda: now)
        with pytest.raises(Problem) as caught:
            await found.current("sam")
        assert caught.value.status == 503
        found.start()
        await asyncio.sleep(0.05)
        assert await found.current("sam") == user
        now += BLIND_AFTER + 1
        with pytest.raises(Problem):
            await found.current("sam")
        await found.stop()

    asyncio.run(test())
