"""What a client sends is either valid or refused with the place that is wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.http import bodies
from gateway.http.bodies import MAX_BODY, parse, read_body
from gateway.http.call import Call
from gateway.http.problems import Problem
from gateway.models.bodies import CommentBody, DecisionBody, LoginBody, RejectBody, SubmitBody
from schemas.money import MoneyError, parse_minor

SUBMIT = {
    "category_id": "hardware",
    "reason_id": "hardware-general",
    "title": "Laptops",
    "amount": "1250.00",
    "currency": "EUR",
}


def refused(data: Any, model: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        parse(data if isinstance(data, bytes) else json.dumps(data).encode(), model)
    return caught.value


def pointers(problem: Problem) -> list[str]:
    return [error["pointer"] for error in problem.errors]


def test_a_proper_submission_passes() -> None:
    """Nobody could file anything."""
    assert parse(json.dumps(SUBMIT).encode(), SubmitBody).title == "Laptops"


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("1e3", "EUR"), ("-5", "EUR"), ("0", "EUR"), ("0.00", "EUR"), ("NaN", "EUR"), ("Infinity", "EUR"), ("", "EUR"),
        ("1.001", "USD"), ("1.5", "JPY"), ("1.0000", "KWD"), ("01", "EUR"), ("1.", "EUR"), (".5", "EUR"), ("+1", "EUR"),
        (" 1", "EUR"), ("1 ", "EUR"), ("1\n", "EUR"), ("1,000", "EUR"), ("1234567890123", "EUR"), ("٣", "EUR"), ("１", "EUR"),
        ("0x10", "EUR"), ("1_000", "EUR"), (5, "EUR"), (1.5, "EUR"), (None, "EUR"), (True, "EUR"), (["1"], "EUR"),
        ("1", "eur"), ("1", "EURO"), ("1", "E1R"), ("1", ""), ("1", None), ("1", "EU\n"), ("1", "ΕUR"),
    ],
)  # fmt: skip
def test_bad_money_is_refused(amount: Any, currency: Any) -> None:
    """Money would be read as something else than was written."""
    body = json.dumps(SUBMIT | {"amount": amount, "currency": currency}).encode()
    with pytest.raises((Problem, MoneyError)) as caught:
        accepted = parse(body, SubmitBody)
        parse_minor(accepted.amount, accepted.currency)
    if isinstance(caught.value, Problem):
        assert caught.value.status == 422
        assert pointers(caught.value)[0] in ("/amount", "/currency")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"title": ""}, "/title"), ({"title": "x" * 201}, "/title"), ({"title": "  "}, "/title"),
        ({"title": "a\x00b"}, "/title"), ({"title": "a\x1bb"}, "/title"), ({"title": "a\rb"}, "/title"),
        ({"title": "a\x85b"}, "/title"), ({"title": 7}, "/title"), ({"title": None}, "/title"),
        ({"description": "x" * 4001}, "/description"), ({"description": "\x00"}, "/description"),
        ({"category_id": ""}, "/category_id"), ({"category_id": "a" * 65}, "/category_id"),
        ({"category_id": "../x"}, "/category_id"), ({"supersedes": "7"}, "/supersedes"),
        ({"unknown": 1}, "/unknown"), ({"a/b~c": 1}, "/a~1b~0c"),
    ],
)  # fmt: skip
def test_bad_fields_are_refused_with_their_place(change: dict[str, Any], pointer: str) -> None:
    """A form could not say which field is wrong."""
    problem = refused(SUBMIT | change, SubmitBody)
    assert (problem.status, problem.code, pointers(problem)) == (422, "invalid", [pointer])


@pytest.mark.parametrize("body", [[], "x", 7, None, True])
def test_json_that_is_no_object_is_refused(body: Any) -> None:
    """A list instead of an object would be an error of the server."""
    assert refused(body, SubmitBody).status == 422


@pytest.mark.parametrize(
    "data", [b"", b"{", b"{}x", b"\xff", b"{'a': 1}", b'{"title": "\\ud800"}', b"[" * 100_000, b"\x00"]
)
def test_what_is_no_json_is_malformed(data: bytes) -> None:
    """Noise would be an error of the server."""
    problem = refused(data, SubmitBody)
    assert (problem.status, problem.code) == (400, "malformed")


def test_a_comment_may_hold_newlines_and_tabs_but_no_nul() -> None:
    """A NUL would stop the read side: PostgreSQL cannot store it."""
    assert parse(b'{"text": "a\\n\\tb"}', CommentBody).text == "a\n\tb"
    assert pointers(refused({"text": "a\x00"}, CommentBody)) == ["/text"]
    assert pointers(refused({"comment": "a\x00"}, DecisionBody)) == ["/comment"]


@pytest.mark.parametrize("body", [{}, {"comment": ""}, {"comment": " \n"}, {"comment": None}])
def test_a_rejection_says_why(body: dict[str, Any]) -> None:
    """A requester would not learn why."""
    assert pointers(refused(body, RejectBody)) == ["/comment"]


@pytest.mark.parametrize("version", [-1, 1.5, "1", 2**53, True])
def test_a_version_is_a_small_whole_number(version: Any) -> None:
    """A version beyond 2^53 means another number in JavaScript."""
    assert pointers(refused({"expected_version": version}, DecisionBody)) == ["/expected_version"]


def test_what_was_typed_is_not_repeated() -> None:
    """A password would come back in an error, and so into logs."""
    problem = refused({"email": "a@b", "password": "hunter2" * 1000}, LoginBody)
    assert "hunter2" not in str(problem.document("c"))


def test_a_body_over_the_limit_is_refused_with_and_without_a_declared_length(make_call: Callable[..., Call]) -> None:
    """One client could fill the memory."""
    big = json.dumps(SUBMIT | {"title": "x" * 10_000_000}).encode()
    chunks = [big[at : at + 65536] for at in range(0, len(big), 65536)]
    for headers in ({"content_length": str(len(big))}, {}):
        call = make_call(*chunks, content_type="application/json", **headers)
        with pytest.raises(Problem) as caught:
            asyncio.run(read_body(call, SubmitBody))
        assert caught.value.status == 413


def test_a_body_just_within_the_limit_is_read(make_call: Callable[..., Call]) -> None:
    """A large but allowed body would be refused."""
    data = b" " * (MAX_BODY - 2) + b"{}"
    assert asyncio.run(read_body(make_call(data, content_type="application/json"), DecisionBody)).comment is None


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "application/json; charset=latin-1", "multipart/form-data"]
)
def test_other_media_types_are_refused(make_call: Callable[..., Call], kind: str) -> None:
    """A form of a foreign page could send a command without a preflight."""
    with pytest.raises(Problem) as caught:
        asyncio.run(read_body(make_call(b"{}", content_type=kind), DecisionBody))
    assert caught.value.status == 415


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON", "application/json; charset=UTF-8"])
def test_json_passes_however_it_is_spelled(make_call: Callable[..., Call], kind: str) -> None:
    """Ordinary clients would be refused."""
    assert asyncio.run(read_body(make_call(b"{}", content_type=kind), DecisionBody)).comment is None


def test_no_body_is_an_empty_one_where_all_is_optional(make_call: Callable[..., Call]) -> None:
    """An approval without a comment would need `{}`."""
    assert asyncio.run(read_body(make_call(), DecisionBody, optional=True)).comment is None
    with pytest.raises(Problem) as caught:
        asyncio.run(read_body(make_call(), DecisionBody))
    assert caught.value.status == 415


class Trickle(Call):
    """A call whose body never ends."""

    async def receive(self) -> Any:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b" " * 1000, "more_body": True}


def trickle(make_call: Callable[..., Call], **settings: Any) -> Trickle:
    call = make_call(b"", content_type="application/json", settings=settings)
    return Trickle(call.scope, None, call.services)  # type: ignore[arg-type]


def test_a_body_that_does_not_end_gives_up_its_place(make_call: Callable[..., Call]) -> None:
    """A few slow clients could hold every place that this gateway has for calls."""
    with pytest.raises(Problem) as caught:
        asyncio.run(read_body(trickle(make_call, body_seconds=0.1), DecisionBody))
    assert caught.value.status == 400
    assert bodies._Arriving.total == 0


def test_bodies_that_arrive_together_are_bounded(
    make_call: Callable[..., Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many large bodies at once would take all memory, each of them within its own limit."""
    monkeypatch.setattr(bodies, "MAX_ARRIVING", 100_000)

    async def together() -> list[Any]:
        reads = [read_body(trickle(make_call), DecisionBody) for _ in range(20)]
        return await asyncio.gather(*reads, return_exceptions=True)

    statuses = {problem.status for problem in asyncio.run(together())}
    assert statuses == {503}
    assert bodies._Arriving.total == 0
    assert asyncio.run(read_body(make_call(b"{}", content_type="application/json"), DecisionBody)).comment is None
