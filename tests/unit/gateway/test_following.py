"""Changes of which a part follows in PostgreSQL, in the same call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

import orjson
import pytest

from gateway.http.answers import Answer
from gateway.http.call import Call
from gateway.http.problems import Problem
from gateway.reference_files import taking_over
from gateway.streams import outcomes
from gateway.streams.known import CATCH_UP_SECONDS
from gateway.streams.outcomes import Outcomes
from gateway.streams.reference_commands import Change, create
from ops.kafka_clients import Kafka
from schemas.catalog import Catalog
from schemas.envelope import derived_id
from schemas.outcomes import answering
from schemas.reference import AssignmentBody, Category, DelegationBody, DepartmentBody

BODY = DepartmentBody(name="HQ", region="emea")
OFFSET = 7


class Rig:
    """A call whose command arrives, and is answered when `decide` says so."""

    def __init__(self, make_call: Callable[..., Call], *, answers: bool, **headers: str) -> None:
        self.sent = 0
        self.followed = 0
        self.waiting = Outcomes(Kafka("127.0.0.1:1"), 4)
        self._answers = answers
        self.call = make_call(path="/api/v1/departments", settings={"command_wait": 0.05}, **headers)
        self.call.caller = SimpleNamespace(id="admin")  # type: ignore[assignment]
        services: Any = self.call.services
        services.nonce = lambda number: "0" * 2 * number
        services.now_ms = lambda: 0
        services.outcomes = self.waiting
        services.producer = SimpleNamespace(send=self._send)
        services.issued = SimpleNamespace(remember=lambda *_: None, promise=self._promise)
        services.catalog = Catalog()
        services.follower = SimpleNamespace(wait_until=self._applied)

    async def _promise(self, *_: str) -> NoReturn:
        raise AssertionError("a 202 was promised")

    async def _applied(self, *_: object) -> bool:
        return True

    async def _send(self, _topic: str, _key: bytes, value: bytes, _headers: object) -> Any:
        self.sent += 1
        if self._answers:
            command = orjson.loads(value)
            entity = {"kind": "department", "id": command["entity_id"], "version": 1, "name": "HQ", "region": "emea"}
            outcome = {"command_id": command["command_id"], "status": "accepted", "version": 1, "entity": entity}
            headers = [("ce_subject", command["command_id"].encode()), answering(OFFSET)]
            record = SimpleNamespace(headers=headers, value=orjson.dumps(outcome | {"offset": OFFSET}))
            asyncio.get_running_loop().call_later(0.01, self.waiting._resolve, [record])
        return SimpleNamespace(offset=OFFSET)

    async def _follow(self, _change: Change) -> Answer:
        self.followed += 1
        return Answer(b"", 201)

    def run(self) -> Answer:
        async def run() -> Answer:
            return await create(self.call, "/api/v1/departments", BODY, self._follow, follows=True)

        return asyncio.run(run())


@pytest.mark.parametrize("prefer", ["respond-async", "wait=0"])
def test_what_follows_is_waited_for_whatever_the_caller_prefers(make_call: Callable[..., Call], prefer: str) -> None:
    """An administrator who does not want to wait gets an account whose password was dropped."""
    rig = Rig(make_call, answers=True, prefer=prefer)
    assert rig.run().status == 201
    assert rig.followed == 1


@pytest.mark.parametrize("prefer", ["respond-async", "wait=0", ""])
def test_what_cannot_follow_in_time_is_no_promise(make_call: Callable[..., Call], prefer: str) -> None:
    """A slow worker makes an accepted account of which nobody knows that its password is missing."""
    rig = Rig(make_call, answers=False, prefer=prefer, idempotency_key="k")
    with pytest.raises(Problem) as caught:
        rig.run()
    headers = dict(caught.value.headers)
    assert (caught.value.status, caught.value.code, headers[b"retry-after"]) == (503, "unavailable", b"1")
    assert headers[b"command-id"] == derived_id("command", "admin", "POST", "/api/v1/departments", "k").encode()
    assert "Repeat it with the same Idempotency-Key" in caught.value.detail
    assert (rig.sent, rig.followed) == (1, 0)


def test_where_nobody_can_wait_nothing_is_changed(
    make_call: Callable[..., Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that is full makes accounts without passwords, and answers each of them 503."""
    monkeypatch.setattr(outcomes, "MAX_WAITING", 0)
    rig = Rig(make_call, answers=True)
    with pytest.raises(Problem) as caught:
        rig.run()
    assert (caught.value.status, rig.sent) == (503, 0)


class Deleted(Rig):
    """What was made by the first call is deleted by now; `read`: this gateway can read all that there is."""

    def __init__(self, make_call: Callable[..., Call], *, read: bool) -> None:
        super().__init__(make_call, answers=True, idempotency_key="k")
        self.caught_up = 0
        self._read = read
        services: Any = self.call.services
        services.follower = SimpleNamespace(wait_until=self._never, catch_up=self._catch_up)
        services.issued.promise = self._promised

    async def _never(self, *_: object) -> bool:
        return False

    async def _promised(self, *_: str) -> None: ...

    async def _catch_up(self, seconds: float) -> bool:
        assert seconds <= CATCH_UP_SECONDS
        self.caught_up += 1
        return self._read

    def again(self, body: Any, first: int) -> Answer:
        """The answer to a repeat of a call whose command has offset `first`."""
        entity = {**body.model_dump(mode="json"), "id": "x", "version": 1}

        async def send(_topic: str, _key: bytes, value: bytes, _headers: object) -> Any:
            id_ = orjson.loads(value)["command_id"]
            outcome = {"command_id": id_, "status": "accepted", "version": 1, "entity": entity, "offset": first}
            headers = [("ce_subject", id_.encode()), answering(OFFSET)]
            record = SimpleNamespace(headers=headers, value=orjson.dumps(outcome))
            asyncio.get_running_loop().call_soon(self.waiting._resolve, [record])
            return SimpleNamespace(offset=OFFSET)

        self.call.services.producer = SimpleNamespace(send=send)  # type: ignore[assignment]

        async def run() -> Answer:
            return await create(self.call, "/api/v1/x", body, self._follow)

        return asyncio.run(run())


ASSIGNMENT = AssignmentBody(category_id="travel", level="L1", approver_id="ann")
DELEGATION = DelegationBody(delegator_id="ann", delegate_id="bob", from_ms=1, until_ms=2)


@pytest.mark.parametrize("body", [ASSIGNMENT, DELEGATION])
def test_a_repeat_of_what_was_deleted_since_is_answered_as_the_first_time(
    make_call: Callable[..., Call], body: Any
) -> None:
    """A client that repeats a call hears for ever that its outcome is still to come."""
    rig = Deleted(make_call, read=True)
    answer = rig.again(body, first=OFFSET - 1)
    assert (answer.status, rig.followed, rig.caught_up) == (201, 1, 1)


def test_what_this_gateway_has_yet_to_read_is_not_answered_as_done(make_call: Callable[..., Call]) -> None:
    """Who made something does not find it in the next call."""
    for rig, body, first in (
        (Deleted(make_call, read=False), ASSIGNMENT, OFFSET - 1),
        (Deleted(make_call, read=True), ASSIGNMENT, OFFSET),
        (Deleted(make_call, read=True), BODY, OFFSET - 1),
    ):
        assert (rig.again(body, first).status, rig.followed) == (202, 0)


def test_an_import_is_done_once_this_gateway_has_what_it_made(make_call: Callable[..., Call]) -> None:
    """Who is told that a file was taken over does not find what it made."""
    call = make_call()
    catalog, waited = Catalog(), []

    async def wait_until(met: Callable[[Catalog], bool], seconds: float) -> bool:
        assert not met(catalog)
        catalog.put(Category(id="new", version=1, name="New"))
        waited.append(seconds)
        return met(catalog)

    services: Any = call.services
    services.catalog, services.follower = catalog, SimpleNamespace(wait_until=wait_until)
    asyncio.run(taking_over._seen(call, "category", taking_over.Result(created=1, versions={"new": 1})))
    assert len(waited) == 1
