"""The people of the phones, two phones each, and what their administrators do to them meanwhile."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import asyncpg

from ops.reference_commands import send
from schemas.reference import PutEntity
from tests.client import Api
from tests.fleet.line import Line, LineBroken
from tests.organisation import putting
from tests.stack import Stack, wait_until

CATEGORIES = ("travel", "meals", "hardware", "marketing", "training")


@dataclass(frozen=True, slots=True)
class Person:
    """`roles` on a usual day. `leaves`: whether the role is gone in the end."""

    id: str
    roles: tuple[str, ...]
    department: str
    leaves: bool = False


_DEMO = (
    Person("sam.sales", ("sales",), "emea-sales"),
    Person("l1.emea", ("manager",), "emea-sales"),
    Person("l1.apac", ("manager", "sales"), "apac-sales"),
    Person("l2", ("manager",), "hq"),
    Person("ana.sales", ("sales",), "apac-sales"),
    Person("l1b.emea", ("manager",), "emea-sales", leaves=True),
    Person("l3", ("manager",), "hq"),
    Person("sue.sales", ("sales",), "emea-sales"),
    Person("l2b", ("manager",), "hq"),
    Person("l1.hq", ("manager",), "hq"),
)
#: Of the people who come in addition: every fourth one decides, every tenth one files as well.
_ROLES: tuple[tuple[str, ...], ...] = (("sales",), ("sales",), ("manager",), ("sales",), ("manager", "sales"))


def people(count: int) -> list[Person]:
    """So many; the first ones are the demo's."""
    more = [
        Person(f"phone.{number}", _ROLES[number % len(_ROLES)], ("emea-sales", "apac-sales")[number % 2])
        for number in range(count - len(_DEMO))
    ]
    return [*_DEMO, *more][:count]


def hire(stack: Stack, api: Api, staff: list[Person]) -> None:
    """Accounts, passwords and assignments for those whom the demo does not have; returns once the gateway knows them."""
    new = [one for one in staff if one.id.startswith("phone.")]
    if not new:
        return
    commands = [_account(one) for one in new]
    for number, one in enumerate(new):
        if "manager" in one.roles:
            level = ("L1", "L2", "L1", "L3")[number % 4]
            body = {"category_id": CATEGORIES[number % 5], "level": level, "approver_id": one.id}
            if level == "L1":
                body["region"] = one.department.removesuffix("-sales")
            commands.append(putting("assignment", f"{one.id}-{number}", **body))
    asyncio.run(_sent(stack, commands))
    asyncio.run(_passwords(stack, [one.id for one in new]))
    wait_until(lambda: api.get("admin", f"/users/{new[-1].id}").status_code == 200, 20, "the gateway knows them not")


def _account(one: Person) -> PutEntity:
    facts = {"email": f"{one.id}@athena.test", "name": one.id.title(), "department_id": one.department, "active": True}
    return putting("user", one.id, roles=one.roles, **facts)


async def _sent(stack: Stack, commands: list[PutEntity]) -> None:
    # Accounts first: an assignment names one.
    for kind in ("user", "assignment"):
        part = [one for one in commands if one.body.kind == kind]
        outcomes = await send(stack.kafka, part, 60.0)
        refused = [one for one in outcomes.values() if one.status != "accepted"]
        assert not refused, refused[0]


async def _passwords(stack: Stack, ids: list[str]) -> None:
    connection = await asyncpg.connect(stack.postgres, timeout=10)
    try:
        await connection.execute(
            "INSERT INTO identity.credentials (user_id, password_hash) "
            "SELECT u, password_hash FROM identity.credentials, unnest($1::text[]) u WHERE user_id = 'sam.sales'",
            ids,
        )
    finally:
        await connection.close(timeout=5)


class Administration:
    """Takes roles and accounts away and gives them back, one person at a time, until told to stop. `changes` counts."""

    def __init__(self, line: Line, staff: list[Person], seed: int, pause: float) -> None:
        self._line, self._staff, self._pause = line, staff, pause
        self._dice = random.Random(seed)
        self._token: str | None = None
        self.changes = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Everybody has in the end what they had, but for those who leave."""
        while not stop.is_set():
            one = self._dice.choice(self._staff)
            if self._dice.random() < 0.3:
                await self._change(one, one.roles, active=False)
            else:
                await self._change(one, tuple(role for role in one.roles if role != one.roles[0]), active=True)
            await asyncio.sleep(self._pause * self._dice.random())
            await self._change(one, one.roles, active=True)
            await asyncio.sleep(self._pause * self._dice.random())
        for one in self._staff:
            if one.leaves:
                await self._change(one, (), active=True)

    async def _change(self, one: Person, roles: tuple[str, ...], *, active: bool) -> None:
        body = {
            "email": f"{one.id}@athena.test", "name": one.id.title(), "roles": roles, "department_id": one.department,
            "active": active,
        }  # fmt: skip
        while True:
            try:
                if self._token is None:
                    login = {"email": "admin@athena.test", "password": "athena-demo-2026"}
                    _, answer = await self._line.call("POST", "/auth/login", None, login)
                    self._token = answer["access_token"]
                status, answer = await self._line.call(
                    "PUT", f"/users/{one.id}", self._token, body, headers={"If-Match": "*"}
                )
            except LineBroken:
                continue
            if status == 200:
                self.changes += 1
                return
            assert status in (202, 401, 503), f"PUT /users/{one.id} answers {status}: {answer}"
            if status == 401:
                self._token = None
            await asyncio.sleep(0.2)
