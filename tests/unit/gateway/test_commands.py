"""Commands that endpoints make are commands: their worker could not read any other."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from pydantic import BaseModel

from gateway import chance
from gateway.http.call import Call
from gateway.identity.callers import Caller
from gateway.models.bodies import CommentBody, DecisionBody, ReassignBody, RejectBody, SubmitBody
from gateway.routes.table import ENDPOINTS
from gateway.streams import commands
from gateway.streams.exchange import Exchange, Sending
from schemas.commands import COMMANDS, CommandBase
from schemas.reference import User

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
#: What a client may send at its most, by endpoint, and the command that it makes.
MADE: dict[str, tuple[str, dict[str, Any]]] = {
    "/api/v1/requests": (
        "SubmitRequest",
        {"category_id": "travel", "reason_id": "fair", "title": "ä\n\"\\\U0001f600", "description": "d" * 4000,
         "amount": "1250.50", "currency": "EUR", "supersedes": ID.upper()},
    ),
    "/api/v1/requests/{id}/withdraw": ("Withdraw", {"comment": "no", "expected_version": 3.0}),
    "/api/v1/requests/{id}/comments": ("Comment", {"text": "why?"}),
    "/api/v1/requests/{id}/reassign": ("Reassign", {"level": "L2", "expected_version": 2}),
    "/api/v1/approvals/{id}/approve": ("Approve", {"comment": "ä", "expected_version": 2**53 - 1}),
    "/api/v1/approvals/{id}/reject": ("Reject", {"comment": "no", "expected_version": None}),
    "/api/v1/approvals/{id}/rollback": ("Rollback", {}),
}  # fmt: skip


class Outcome(Exception):
    """Stands in for the exchange: what would have been sent."""

    def __init__(self, sending: Sending) -> None:
        self.sending = sending


async def _exchange(_call: Call, _caller: Caller, sending: Sending) -> Exchange:
    raise Outcome(sending)


async def _own(*_: Any) -> bool:
    return True


@pytest.mark.parametrize("path", MADE)
def test_what_a_body_lets_pass_is_a_command(path: str, make_call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's decision would end as a dead letter: the gateway does not put it before the command's model."""
    monkeypatch.setattr(commands, "exchange", _exchange)
    monkeypatch.setattr("gateway.routes.request_commands.requests.own_of", _own)
    kind, body = MADE[path]
    endpoint = next(one for one in ENDPOINTS if (one.method, one.path) == ("POST", path))
    call = make_call(orjson.dumps(body), content_type="application/json")
    call.services.catalog = SimpleNamespace(offset=7, categories={"travel"}, reasons={"fair"})
    call.services.database = None
    call.services.backpressure = SimpleNamespace(active=False)
    call.services.nonce = chance.digits
    call.path_values = {"id": ID.upper()}
    call.caller = Caller(
        User(id="u-1", version=1, email="a@b.test", name="A", roles=("sales",), department_id="d"), frozenset(), "s"
    )
    with pytest.raises(Outcome) as found:
        asyncio.run(endpoint.handler(call))  # type: ignore[arg-type]
    sending = found.value.sending
    command = COMMANDS.validate_json(sending.value)
    assert type(command).__name__ == sending.kind == kind
    assert (command.command_id, command.request_id) == (sending.command_id, sending.key)
    assert (command.actor_id, command.source_address) == ("u-1", "192.0.2.7")
    given = {name: value.lower() if name == "supersedes" else value for name, value in body.items()}
    assert command.model_dump(include=set(given)) == given


def test_every_endpoint_of_a_request_s_commands_is_tried() -> None:
    """The next one would be looked at by nobody."""
    bodies = {SubmitBody, DecisionBody, RejectBody, CommentBody, ReassignBody}
    assert {one.path for one in ENDPOINTS if one.command and one.body in bodies} == set(MADE)
    made = {
        one.path
        for one in ENDPOINTS
        if one.command and one.method == "POST" and one.path.startswith(("/api/v1/requests", "/api/v1/approvals"))
    }
    assert made - {"/api/v1/requests/sync", "/api/v1/approvals/sync"} == set(MADE)


@pytest.mark.parametrize(("body", "kinds"), [
    (SubmitBody, ["SubmitRequest"]), (DecisionBody, ["Approve", "Rollback", "Withdraw"]), (RejectBody, ["Reject"]),
    (CommentBody, ["Comment"]), (ReassignBody, ["Reassign"]),
])  # fmt: skip
def test_a_body_s_fields_are_no_wider_than_the_command_s(body: type[BaseModel], kinds: list[str]) -> None:
    """What is checked for a body would not be what the worker asks for."""
    by_name = {kind.__name__: kind for kind in CommandBase.__subclasses__()}
    for kind in kinds:
        for name, field in body.model_fields.items():
            wanted = by_name[kind].model_fields[name]
            narrower = [rule for rule in wanted.metadata if rule not in field.metadata]
            assert name == "expected_version" or (field.annotation == wanted.annotation and not narrower), (kind, name)


def test_random_ids_are_ids_and_come_once() -> None:
    """Two calls would share an id, or two commands a salt: one tells what the other hides."""
    made = [chance.uuid4() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(one[14] == "4" and one[19] in "89ab" and len(one) == 36 for one in made)
    salts = [chance.digits(16) for _ in range(1000)]
    assert len(set(salts)) == 1000
    assert all(len(bytes.fromhex(one)) == 16 for one in salts)
    assert len(chance.digits(10_000)) == 20_000
