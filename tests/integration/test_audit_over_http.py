"""The audit log: complete, chained, verifiable, and nobody's to change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import pytest

from schemas.audit import GENESIS
from tests import shapes
from tests.client import ROUTE_L1_L2, Api
from tests.stack import Stack, wait_until

PAGE = shapes.page(shapes.audit_item)


def logs(api: Api, who: str = "auditor", **params: Any) -> list[dict[str, Any]]:
    """Audit records, newest first."""
    items: list[dict[str, Any]] = shapes.answer(api.get(who, "/audit/logs", **params), 200, PAGE)["items"]
    return items


def test_every_step_and_every_refusal_is_on_record(api: Api) -> None:
    """Otherwise an auditor could not tell who did what, or who tried."""
    request = api.submit(**ROUTE_L1_L2)
    api.decide("l2", "approve", request)
    api.approved("l1.emea", request)
    last = api.decide("l2b", "reject", request, comment="secret reason").json()
    api.read("auditor", last)
    found = list(reversed(logs(api, requestId=request["id"])))
    shown = [
        (item["seq"], item["action"], item["actor_id"], item["outcome"], item["code"], item["version"])
        for item in found
    ]
    assert shown == [
        (1, "submit", "sam.sales", "accepted", None, 1),
        (2, "approve", "l2", "refused", "not-an-approver", None),
        (3, "approve", "l1.emea", "accepted", None, 2),
        (4, "reject", "l2b", "accepted", None, 3),
    ]
    assert [item["status_after"] for item in found] == ["pending_l1", "pending_l1", "pending_l2", "rejected"]
    assert [item["prev_hash"] for item in found] == [GENESIS, *(item["hash"] for item in found[:-1])]
    assert {item["entity"] for item in found} == {f"request:{request['id']}"}
    assert found[0]["actor_roles"] == ["sales"]
    assert found[0]["source_address"] is not None
    assert not [item for item in found if "secret reason" in str(item)]


def test_refused_submissions_and_unknown_requests_are_on_record(api: Api) -> None:
    """Otherwise somebody could probe the product without a trace."""
    answer = api.post("sue.sales", "/requests", {
        "category_id": "travel", "reason_id": "travel-general", "title": "probe", "amount": "1.00", "currency": "CHF"
    })  # fmt: skip
    correlation = answer.headers["X-Correlation-Id"]

    def recorded() -> bool:
        return any(item["correlation_id"] == correlation for item in logs(api, userId="sue.sales", limit=200))

    wait_until(recorded, 10, "a refused submission is not on record")
    item = next(item for item in logs(api, userId="sue.sales", limit=200) if item["correlation_id"] == correlation)
    assert item["entity"].startswith("partition:")
    assert (item["action"], item["outcome"], item["code"]) == ("submit", "refused", "currency-not-supported")


def test_sign_ins_are_on_record(api: Api) -> None:
    """Otherwise a stolen account would leave no trace."""
    failed = api.login("l1.hq", "a-wrong-password")
    api.login("l1.hq")

    def recorded() -> set[str]:
        return {item["action"] for item in logs(api, userId="l1.hq", limit=200)}

    wait_until(lambda: {"login", "login-failed"} <= recorded(), 10, "sign-ins are not on record")
    item = next(
        i
        for i in logs(api, userId="l1.hq", action="login-failed")
        if i["correlation_id"] == failed.headers["X-Correlation-Id"]
    )
    assert (item["entity"], item["outcome"], item["request_id"]) == ("session:l1.hq", "refused", None)


def test_filters_of_the_audit_log(api: Api) -> None:
    """Otherwise an auditor would drown in records."""
    request = api.approved("l1.emea", api.submit())
    api.read("auditor", request)
    both = [logs(api, **{name: request["id"]}) for name in ("requestId", "request_id")]
    assert both[0] == both[1]
    assert [item["action"] for item in both[0]] == ["approve", "submit"]
    assert {item["actor_id"] for item in logs(api, userId="l1.emea", limit=20)} == {"l1.emea"}
    assert {item["action"] for item in logs(api, action="approve", limit=20)} == {"approve"}
    at = both[0][0]["at"]
    found = logs(api, **{"requestId": request["id"], "from": at})
    assert [item["at"] >= at for item in found] == [True] * len(found)
    assert found
    assert [item["action"] for item in logs(api, **{"requestId": request["id"], "to": at})][-1:] == ["submit"]


def test_verifying_finds_every_chain_whole(stack: Stack, api: Api) -> None:
    """Otherwise nobody could prove that the record was not touched."""
    request = api.approved("l1.emea", api.submit())
    api.read("auditor", request)
    one = shapes.answer(api.get("auditor", "/audit/verify", requestId=request["id"]), 200, shapes.verdict)
    assert one == {"ok": True, "chains": 1, "records": 2, "first_break": None}
    everything = shapes.answer(api.get("admin", "/audit/verify"), 200, shapes.verdict)
    assert everything["ok"], everything
    assert everything["chains"] > 1
    done = stack.run("audit", "verify", "--request", request["id"])
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_request_that_was_never_filed_has_no_chain(stack: Stack, api: Api) -> None:
    """An auditor who mistyped an id would be told that the product is broken."""
    unknown = "0f8fad5b-d9cb-469f-a165-70867728950e"
    one = shapes.answer(api.get("auditor", "/audit/verify", requestId=unknown), 200, shapes.verdict)
    assert one == {"ok": True, "chains": 0, "records": 0, "first_break": None}
    done = stack.run("audit", "verify", "--request", unknown, "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "there is no record of this request" in done.stdout


CHANGES = (
    "UPDATE audit.records SET actor_id = 'nobody'",
    "DELETE FROM audit.records",
    "TRUNCATE audit.records",
    "UPDATE audit.records SET hash = prev_hash WHERE seq = 1",
)


def attempt(url: str, statement: str) -> str:
    """Try the statement in a transaction that is rolled back; the refusal, empty when it was allowed."""

    async def run() -> str:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            transaction = connection.transaction()
            await transaction.start()
            try:
                await connection.execute(statement, timeout=20)
                return ""
            except asyncpg.InsufficientPrivilegeError as error:
                return str(error)
            finally:
                await transaction.rollback()
        finally:
            await connection.close(timeout=5)

    return asyncio.run(run())


@pytest.mark.parametrize("role", ["gateway", "projector", "owner", "superuser"])
@pytest.mark.parametrize("statement", CHANGES)
def test_nobody_can_change_or_delete_an_audit_record(stack: Stack, api: Api, role: str, statement: str) -> None:
    """Otherwise whoever has a database login could rewrite what happened."""
    api.read("auditor", api.submit())
    assert attempt(stack.home.database_url(role), statement), f"{role} may: {statement}"


@pytest.mark.parametrize("role", ["gateway", "projector"])
@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE audit.records DISABLE TRIGGER ALL",
        "DROP TABLE audit.records",
        "SET session_replication_role = replica",
        "CREATE TABLE audit.other (x int)",
    ],
)
def test_the_applications_roles_cannot_take_the_guard_away(stack: Stack, role: str, statement: str) -> None:
    """Otherwise a hole in the gateway would be a way to rewrite the record."""
    assert attempt(stack.home.database_url(role), statement), f"{role} may: {statement}"


@pytest.mark.xdist_group("changing")
def test_a_change_behind_our_back_is_found(changing: Stack, changing_api: Api) -> None:
    """Otherwise somebody with the machine in their hands could change the record unseen."""
    request = changing_api.approved("l1.emea", changing_api.submit())
    changing_api.read("auditor", request)

    def edit(work: Callable[[asyncpg.Connection], Coroutine[Any, Any, Any]]) -> Any:
        async def run() -> Any:
            connection = await asyncpg.connect(changing.postgres, timeout=10)
            try:
                await connection.execute("ALTER TABLE audit.records DISABLE TRIGGER ALL")
                return await work(connection)
            finally:
                await connection.execute("ALTER TABLE audit.records ENABLE ALWAYS TRIGGER records_append_only")
                await connection.execute("ALTER TABLE audit.records ENABLE ALWAYS TRIGGER records_no_truncate")
                await connection.close(timeout=5)

        return asyncio.run(run())

    entity = f"request:{request['id']}"
    edit(lambda c: c.execute("UPDATE audit.records SET actor_id = 'l1b.emea' WHERE entity = $1 AND seq = 2", entity))
    try:
        for params in ({"requestId": request["id"]}, {}):
            verdict = shapes.answer(changing_api.get("auditor", "/audit/verify", **params), 200, shapes.verdict)
            assert not verdict["ok"]
            assert (verdict["first_break"]["entity"], verdict["first_break"]["seq"]) == (entity, 2)
        done = changing.run("audit", "verify")
        assert done.returncode == 1, done.stdout
        assert request["id"] in done.stdout
    finally:
        edit(lambda c: c.execute("UPDATE audit.records SET actor_id = 'l1.emea' WHERE entity = $1 AND seq = 2", entity))
    assert changing.run("audit", "verify").returncode == 0
