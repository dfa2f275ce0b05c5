"""A candidate file against 100,000 requests on record: from PostgreSQL, in a bounded time and memory."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import psutil
import pytest

from gateway.rules_desk import RulesDesk
from ops.checking.requests import decision_ms
from ops.postgres.migrate import migrate
from ops.secrets.secret import Secret
from ops.seed import rules_text
from rules.engine import Facts
from rules.file import parse_rules
from schemas.catalog import Catalog
from schemas.money import convert_minor
from schemas.reference import Assignment, Category, Department, User
from tests.stack import Stack
from tests.unit.rules import oracle

pytestmark = pytest.mark.xdist_group("simulated")

REQUESTS = int(os.environ.get("ATHENA_TEST_SIMULATED", "100000"))
DATABASE = "simulated"
PLACES = {"emea-sales": "emea", "apac-sales": "apac", "hq": "global"}
CATEGORIES = ("travel", "meals", "hardware", "marketing", "training")
COLUMNS = (
    "entity", "seq", "schema_version", "request_id", "version", "command_id", "actor_id", "actor_roles", "action", "at", "outcome",
    "correlation_id", "commitments", "prev_hash", "hash", "event", "partition", "log_offset",
)  # fmt: skip
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def organisation() -> Catalog:
    """The demo's shape: everybody can be staffed."""
    catalog = Catalog()
    for department, region in PLACES.items():
        catalog.put(Department(id=department, version=1, name=department, region=region))
        catalog.put(_user(f"s-{department}", "sales", department))
    for category in CATEGORIES:
        catalog.put(Category(id=category, version=1, name=category))
        for level in ("L1", "L2", "L3"):
            for number in (1, 2):
                who = f"{level}-{number}".lower()
                catalog.put(_user(who, "manager", "hq"))
                assignment = f"{category}-{who}"
                catalog.put(Assignment(id=assignment, version=1, category_id=category, level=level, approver_id=who))
    return catalog


def _user(id_: str, role: Any, department: str) -> User:
    return User(id=id_, version=1, email=f"{id_}@athena.test", name=id_, roles=(role,), department_id=department)


def event(dice: random.Random, number: int) -> dict[str, Any]:
    """A submission as the audit stream has it, routed by the oracle."""
    file = FILE
    department = dice.choice(list(PLACES))
    currency = dice.choice(["USD", "EUR", "JPY", "GBP"])
    minor = dice.randrange(1, 12_000_000)
    rate = file.rate(currency)
    assert rate is not None
    base = convert_minor(minor, currency, "USD", rate)
    facts = Facts(dice.choice(CATEGORIES), department, PLACES[department], currency, base)
    rule = oracle.route(file, facts)
    levels = [
        {
            "level": level,
            "quorum": {"any": 1, "all": 2}.get(str(rule.quorum_of(level)), 2),
            "quorum_rule": str(rule.quorum_of(level)),
            "approvers": [f"{level.lower()}-1", f"{level.lower()}-2"],
        }
        for level in rule.levels
    ]
    return {
        "type": "Submitted", "version": 1, "at": 1_770_000_000_000 + number, "actor_id": f"s-{department}",
        "command_id": str(uuid.UUID(int=number)), "department_id": department, "region": PLACES[department],
        "category_id": facts.category_id, "reason_id": f"{facts.category_id}-general", "amount_minor": minor,
        "currency": currency, "base_minor": base, "base_currency": "USD", "fx_rate": str(rate), "supersedes": None,
        "rules_version": 1, "rule_id": rule.id, "window_ms": 86_400_000, "levels": levels,
    }  # fmt: skip


FILE = parse_rules(rules_text())


@pytest.fixture(scope="module")
def dsn(stack: Stack) -> Iterator[str]:
    """A database of this test's own on the stack's server, with many requests on record."""
    url = stack.postgres
    own = url.rpartition("/")[0] + "/" + DATABASE

    async def fill() -> None:
        server = await asyncpg.connect(url)
        await server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        await server.execute(f"CREATE DATABASE {DATABASE}")
        await server.close()
        await migrate(own)
        dice = random.Random(7)
        connection = await asyncpg.connect(own)

        def records() -> Iterator[tuple[Any, ...]]:
            for number in range(REQUESTS):
                id_ = str(uuid.UUID(int=number))
                at = BEGAN + timedelta(seconds=number)
                yield (
                    f"request:{id_}", 1, 1, id_, 1, id_, "s", ["sales"], "submit", at, "accepted", "c", "{}", "0" * 64,
                    "1" * 64, json.dumps(event(dice, number)), 0, number,
                )  # fmt: skip

        await connection.copy_records_to_table("records", schema_name="audit", records=records(), columns=COLUMNS)
        await connection.execute("ANALYZE")
        await connection.close()

    async def drop() -> None:
        server = await asyncpg.connect(url)
        await server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        await server.close()

    asyncio.run(fill())
    yield own
    asyncio.run(drop())


def _of_children() -> int:
    """Bytes held by the largest process that this one has started."""
    return max((one.memory_info().rss for one in psutil.Process().children(recursive=True)), default=0)


def test_a_hundred_thousand_requests_take_less_than_half_a_minute(dsn: str) -> None:
    """Otherwise an admin would publish without looking; and a simulation must not fill the gateway's memory or stop its loop."""
    text = (
        rules_text().replace('amount: {gte: "50000"}', 'amount: {gte: "60000"}').replace('lt: "50000"', 'lt: "60000"')
    )
    desk = RulesDesk(organisation(), Secret("database_url", dsn), None)
    before = psutil.Process().memory_info().rss
    largest = [0, 0.0]

    async def watched() -> dict[str, Any]:
        work = asyncio.create_task(desk.simulate(text, None))
        while not work.done():
            at = time.perf_counter()
            await asyncio.sleep(0.01)
            largest[1] = max(largest[1], time.perf_counter() - at - 0.01)
            if int(at * 100) % 20 == 0:
                largest[0] = max(largest[0], _of_children())
        return work.result()

    began = time.monotonic()
    found = asyncio.run(watched())
    took = time.monotonic() - began
    grown = psutil.Process().memory_info().rss - before
    print(  # noqa: T201 - the figure that the issue asks for
        f"{found['requests']} requests in {took:.1f} s; this process grew {grown / 2**20:.0f} MiB, the program held "
        f"{largest[0] / 2**20:.0f} MiB; the loop stood still {largest[1] * 1000:.0f} ms at most"
    )
    assert found["requests"] == REQUESTS
    assert found["rerouted"] == sum(one["count"] for one in found["by_rule"]) > 0
    assert took < 30 * max(1.0, REQUESTS / 100_000)
    assert grown < 60 * 2**20 and largest[0] < 200 * 2**20


def test_the_sums_are_those_of_adding_up_by_hand(dsn: str) -> None:
    """Otherwise the figures that an admin decides by would be wrong."""
    text = rules_text().replace('amount: {gte: "50000"}', 'amount: {gte: "60000"}')
    desk = RulesDesk(organisation(), Secret("database_url", dsn), None)
    few = min(REQUESTS, 3000)
    found = asyncio.run(desk.simulate(text, BEGAN + timedelta(seconds=REQUESTS - few)))
    dice, candidate = random.Random(7), parse_rules(text)
    events = [event(dice, number) for number in range(REQUESTS)][-few:]
    pairs: dict[tuple[str, str], int] = {}
    approvals = {level: [0, 0] for level in ("L1", "L2", "L3")}
    escaped = {"L2": [0, 0], "L3": [0, 0]}
    for one in events:
        facts = Facts(one["category_id"], one["department_id"], one["region"], one["currency"], one["base_minor"])
        rule = oracle.route(candidate, facts)
        for level in one["levels"]:
            approvals[level["level"]][0] += level["quorum"]
        for name in rule.levels:
            approvals[name][1] += {"any": 1, "all": 2, "2": 2}[str(rule.quorum_of(name))]
        for name, sums in escaped.items():
            if name in {level["level"] for level in one["levels"]} and name not in rule.levels:
                sums[0] += 1
                sums[1] += one["base_minor"]
        if rule.id != one["rule_id"]:
            pairs[one["rule_id"], rule.id] = pairs.get((one["rule_id"], rule.id), 0) + 1
    assert found["requests"] == few
    assert {(one["from"], one["to"]): one["count"] for one in found["by_rule"]} == pairs and pairs
    assert {level: [one["before"], one["after"]] for level, one in found["approvals"].items()} == approvals
    assert {
        level: [one["count"], round(float(one["base_amount"]["amount"]) * 100)]
        for level, one in found["escaped"].items()
    } == escaped


def test_hours_are_those_that_people_took(dsn: str) -> None:
    """Otherwise the estimate would be made up: it is the median from a request's last step to a vote, by level."""
    hour = timedelta(hours=1)

    async def filed() -> dict[str, int]:
        connection = await asyncpg.connect(dsn)
        try:
            for number, hours in enumerate((2, 4, 9)):
                id_ = uuid.UUID(int=number)
                await connection.execute(
                    "INSERT INTO requests.requests VALUES ($1, 4, 'approved', 's', 'travel', 'hq', $2, $2, '{}')",
                    id_,
                    BEGAN,
                )
                between = BEGAN + hour
                steps = [
                    (1, BEGAN, "submit", None), (2, between, "comment", None), (3, between, "remind", "L1"),
                    (4, between, "escalate", "L1"), (5, between, "reassign", "L1"),
                    (6, BEGAN + hours * hour, "approve", "L1"), (7, BEGAN + (hours + 10 * number) * hour, "reject", "L2"),
                ]  # fmt: skip
                await connection.executemany(
                    "INSERT INTO requests.history (request_id, version, status, at, actor_id, action, level) "
                    "VALUES ($1, $2, 'x', $3, 'a', $4, $5)",
                    [(id_, *step) for step in steps],
                )
            return await decision_ms(connection)
        finally:
            await connection.close()

    took = asyncio.run(filed())
    assert took == {"L1": 4 * 3_600_000, "L2": 10 * 3_600_000}
    found = asyncio.run(
        RulesDesk(organisation(), Secret("database_url", dsn), None).simulate(
            rules_text(), BEGAN + timedelta(seconds=REQUESTS - 9)
        )
    )
    assert (found["requests"], found["rerouted"]) == (9, 0)
    hours = sum(found["approvals"][level]["before"] * took[level] / 3_600_000 for level in ("L1", "L2"))
    assert found["approver_hours"]["before"] == found["approver_hours"]["after"] == hours
    assert found["approver_hours"]["median_hours"] == {"L1": 4.0, "L2": 10.0, "L3": None}
