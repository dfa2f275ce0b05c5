"""Somebody leaves while requests wait for them: on the real log, with the worker killed in between."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from schemas import topics
from schemas.commands import Approve
from tests import shapes
from tests.client import Api
from tests.integration.test_users_over_http import GOOD, account
from tests.organisation import put_seen
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.xdist_group("changing")


class Firm:
    """A category of its own, with managers that a test lets go."""

    def __init__(self, stack: Stack, api: Api) -> None:
        self.stack, self.api = stack, api
        self.category = f"c{uuid.uuid4().hex[:8]}"
        put_seen(stack, api, "category", self.category, name=self.category)
        put_seen(stack, api, "reason", f"{self.category}-general", text="Any", category_id=self.category)

    def manager(self, level: str | None) -> str:
        """A new one, assigned at that level."""
        answer = self.api.post("admin", "/users", account(roles=["manager"], password=GOOD))
        assert answer.status_code == 201, answer.text
        id_ = str(answer.json()["id"])
        if level is not None:
            self.assign(id_, level)
        return id_

    def assign(self, id_: str, level: str) -> None:
        put_seen(
            self.stack,
            self.api,
            "assignment",
            f"{id_}-{level}",
            category_id=self.category,
            level=level,
            approver_id=id_,
        )

    def leaves(self, id_: str) -> None:
        assert self.api.call("admin", "DELETE", f"/users/{id_}").status_code == 204

    def file(self) -> dict[str, Any]:
        return self.api.submit(category_id=self.category, amount="2000.00", currency="USD")

    def pools(self, request: dict[str, Any]) -> list[list[str]]:
        return [level["approvers"] for level in self.now(request)["route"]["levels"]]

    def now(self, request: dict[str, Any]) -> dict[str, Any]:
        return self.api.read("admin", request)

    def history(self, request: dict[str, Any]) -> list[tuple[str, str, str]]:
        items = self.api.get("admin", f"/requests/{request['id']}/status").json()["items"]
        return [(item["action"], item["actor_id"], item["level"]) for item in items]


@pytest.fixture
def firm(changing: Stack, changing_api: Api) -> Iterator[Firm]:
    """Its category is closed in the end: rules that others publish here could not be staffed for it."""
    found = Firm(changing, changing_api)
    yield found
    put_seen(changing, changing_api, "category", found.category, name=found.category, active=False)


def test_a_departure_is_seen_to_although_the_worker_is_killed(firm: Firm) -> None:
    """Requests wait for ever for somebody who left, or their approvers hear of it twice."""
    here, gone, later = firm.manager("L1"), firm.manager("L1"), firm.manager("L2")
    requests = [firm.file() for _ in range(3)]
    assert [sorted(pool) for pool in firm.pools(requests[0])] == [sorted([here, gone]), [later]]
    firm.leaves(gone)
    firm.stack.kill("worker")
    for request in requests:
        wait_until(lambda at=request: firm.pools(at)[0] == [here], 40, "a request waits for somebody who left")
        assert firm.history(request) == [("submit", "sam.sales", None), ("reassign", "system", "L1")]
    # What is in flight from before is refused by the worker, whatever a gateway let pass.
    late = _approve_past_the_gateway(firm.stack, str(requests[0]["id"]), gone)
    items: list[dict[str, Any]] = []

    def on_record() -> bool:
        items[:] = firm.api.get("auditor", "/audit/logs", requestId=requests[0]["id"], userId=gone).json()["items"]
        return bool(items)

    wait_until(on_record, 10, f"command {late} of somebody who left is not on record")
    assert [(item["action"], item["outcome"], item["code"]) for item in items] == [
        ("approve", "refused", "actor-not-allowed")
    ]


def test_a_level_without_anybody_is_flagged_once_and_staffed_when_somebody_comes(firm: Firm) -> None:
    """A request is lost with its approver, or its history fills up with attempts."""
    firm.manager("L1")
    only = firm.manager("L2")
    request = firm.file()
    firm.leaves(only)
    flagged = [("submit", "sam.sales", None), ("reassign", "system", "L2")]
    wait_until(lambda: firm.history(request) == flagged, 20, "a departure that leaves nobody is not on record")
    assert firm.pools(request)[1] == [only]
    new = firm.manager(None)
    inactive = {"category_id": firm.category, "level": "L2", "approver_id": only}
    with pytest.raises(AssertionError, match="approver-inactive"):
        put_seen(firm.stack, firm.api, "assignment", f"{only}-again", **inactive)
    firm.assign(new, "L1")
    firm.assign(new, "L2")
    wait_until(lambda: firm.pools(request)[1] == [new], 20, "a request is not given to those who came")
    assert firm.history(request) == [*flagged, ("reassign", "system", "L2")]
    shapes.request(firm.now(request))


def _approve_past_the_gateway(stack: Stack, request_id: str, actor: str) -> str:
    """As from a gateway that had yet to hear of a departure; the command's id."""
    command = Approve(
        command_id=str(uuid.uuid4()), request_id=request_id, actor_id=actor, correlation_id=str(uuid.uuid4())
    )

    async def send() -> None:
        producer = stack.kafka.producer(enable_idempotence=True)
        await producer.start()
        try:
            await producer.send_and_wait(
                topics.COMMANDS, key=request_id.encode(), value=orjson.dumps(command.model_dump())
            )
        finally:
            await producer.stop()

    asyncio.run(send())
    return command.command_id
