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
from gateway.streams import outcomes
from gateway.streams.outcomes import Outcomes
from gateway.streams.reference_commands import Change, create
from ops.kafka_clients import Kafka
from schemas.catalog import Catalog
from schemas.envelope import derived_id
from schemas.outcomes import answering
from schemas.reference import DepartmentBody

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
