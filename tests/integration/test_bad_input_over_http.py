"""Whatever comes in: a 4xx with a reason, never a 5xx, and the gateway goes on."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests import shapes
from tests.client import ROUTE_L1_L2, Api, submission

JSON = {"Content-Type": "application/json"}


def still_well(api: Api) -> None:
    assert api.submit()["version"] == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[",
        b'{"title": "x"',
        b"\x00" * 100,
        b"{'title': 1}",
        b'"\xed\xa0\x80"',
        b"[" * 20_000,
    ],
)
def test_what_is_no_json(api: Api, body: bytes) -> None:
    """Otherwise a broken client would see a server error, and nobody would know why."""
    answer = api.call("sam.sales", "POST", "/requests", content=body, headers=JSON)
    shapes.refused(answer, 400, "malformed")
    still_well(api)


@pytest.mark.parametrize("value", [[], "text", 1, None, True])
def test_json_that_is_no_object(api: Api, value: Any) -> None:
    """Otherwise a list would be taken for a request."""
    answer = api.call("sam.sales", "POST", "/requests", content=json.dumps(value).encode(), headers=JSON)
    shapes.refused(answer, 422, "invalid")


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "application/json; charset=latin-1", ""])
def test_another_media_type(api: Api, media_type: str) -> None:
    """Otherwise a form of another site could file requests."""
    answer = api.call("sam.sales", "POST", "/requests", content=b"{}", headers={"Content-Type": media_type})
    shapes.refused(answer, 415, "unsupported-media-type")


WRONG: list[tuple[str, Any]] = [
    *[("/amount", amount) for amount in ("1e3", "-5", "0", "0.00", "NaN", "Infinity", "1.001", "", " 1", "1 ", "01", ".5", "5.")],
    *[("/amount", amount) for amount in ("1,50", "+1", "١٢", "1.0000", "1_000", "0x10")],
    *[("/amount", amount) for amount in (12, 12.5, None, ["1"], "1" * 13, "9" * 5000)],
    *[("/currency", currency) for currency in ("eur", "EU", "EURO", "", 978, "€€€", None)],
    *[("/title", title) for title in ("", "   ", "x" * 201, "a\x00b", "bell\x07", "\x1b[31m", 7, None)],
    *[("/description", text) for text in ("x" * 4001, "a\x00b", 7, {})],
    *[("/category_id", id_) for id_ in ("", "no such", "../etc", 7, None, "x" * 65)],
    *[("/supersedes", id_) for id_ in ("no-uuid", 7, "")],
    ("/requester_id", "admin"),
    ("/status", "approved"),
    ("/__proto__", {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("pointer", "value"), WRONG, ids=[f"{pointer}={str(value)[:12]!r}" for pointer, value in WRONG]
)
def test_a_wrong_field_is_named(api: Api, pointer: str, value: Any) -> None:
    """Otherwise a person would have to guess what is wrong, or the wrong thing would be filed."""
    body = submission() | {pointer[1:]: value}
    problem = shapes.refused(api.post("sam.sales", "/requests", body), 422, "invalid")
    assert pointer in {error["pointer"] for error in problem["errors"]}


@pytest.mark.parametrize(
    ("amount", "currency"), [("1.5", "JPY"), ("1.001", "USD"), ("0.001", "EUR"), ("1.0000", "KWD")]
)
def test_more_decimals_than_the_currency_has(api: Api, amount: str, currency: str) -> None:
    """Otherwise a fraction of a cent would be rounded away silently."""
    answer = api.post("sam.sales", "/requests", submission(amount=amount, currency=currency))
    problem = shapes.refused(answer, 422, "invalid")
    assert problem["errors"][0]["pointer"] == "/amount"


@pytest.mark.parametrize("missing", ["category_id", "reason_id", "title", "amount", "currency"])
def test_a_missing_field_is_named(api: Api, missing: str) -> None:
    """Otherwise a person would have to guess what is missing."""
    body = submission()
    del body[missing]
    problem = shapes.refused(api.post("sam.sales", "/requests", body), 422, "invalid")
    assert f"/{missing}" in {error["pointer"] for error in problem["errors"]}


def test_texts_that_people_really_write_are_kept(api: Api) -> None:
    """Otherwise names and notes in other scripts would be refused or spoilt."""
    title = "出張 – Zürich → Kraków 🚄 'quoted' \"double\" <b>&amp;</b> \\u0000 ${jndi:x}"
    description = "first line\nsecond\tline\r".rstrip("\r") + "; DROP TABLE requests.requests; --"
    request = api.submit(title=title, description=description)
    assert (request["title"], request["description"]) == (title, description)
    assert api.read("sam.sales", request) == request


@pytest.mark.parametrize(
    "id_", ["1", "no-id", "null", "%00", "a" * 300, "0f8fad5b-d9cb-469f-a165-7086772895zz", "..%2f..%2fetc"]
)
def test_an_id_that_is_no_id_is_not_found(api: Api, id_: str) -> None:
    """Otherwise a bent address would be a server error."""
    for who, method, path in (
        ("sam.sales", "GET", f"/requests/{id_}"),
        ("sam.sales", "GET", f"/requests/{id_}/status"),
        ("sam.sales", "POST", f"/requests/{id_}/withdraw"),
        ("l1.emea", "POST", f"/approvals/{id_}/approve"),
        ("sam.sales", "GET", f"/commands/{id_}"),
    ):
        answer = api.call(who, method, path, **({"json": {}} if method == "POST" else {}))
        assert answer.status_code == 404, f"{method} {path}: {answer.status_code} {answer.text}"
        shapes.problem(answer.json(), path)


def test_comments(api: Api) -> None:
    """Otherwise a rejection could come without a reason, or with one that cannot be shown."""
    request = api.submit(**ROUTE_L1_L2)
    for body in (
        {},
        {"comment": ""},
        {"comment": "  "},
        {"comment": None},
        {"comment": "a\x00b"},
        {"comment": "x" * 4001},
    ):
        problem = shapes.refused(api.decide("l1.emea", "reject", request, **body), 422, "invalid")
        assert problem["errors"][0]["pointer"] == "/comment"
    for body in (
        {"comment": "a\x00b"},
        {"comment": 7},
        {"expected_version": "1"},
        {"expected_version": -1},
        {"more": 1},
    ):
        shapes.refused(api.decide("l1.emea", "approve", request, **body), 422, "invalid")
    for body in ({}, {"text": ""}, {"text": "\x00"}):
        shapes.refused(api.post("l1.emea", f"/requests/{request['id']}/comments", body), 422, "invalid")
    assert api.read("sam.sales", request)["version"] == 1


def test_a_body_of_ten_megabytes(api: Api) -> None:
    """Otherwise one call could eat the gateway's memory."""
    body = json.dumps(submission(description="x" * 10_000_000)).encode()
    shapes.refused(api.call("sam.sales", "POST", "/requests", content=body, headers=JSON), 413, "too-large")

    def chunks() -> Any:
        for _ in range(160):
            yield b" " * 65536

    shapes.refused(api.call("sam.sales", "POST", "/requests", content=chunks(), headers=JSON), 413, "too-large")
    still_well(api)


def test_what_is_not_there(api: Api) -> None:
    """Otherwise a wrong address would look like an empty answer."""
    for method, path in (
        ("GET", "/nothing"),
        ("POST", "/requests/x/y/z"),
        ("DELETE", "/requests"),
        ("PATCH", "/users/me"),
    ):
        answer = api.call("sam.sales", method, path)
        assert answer.status_code in (404, 405), answer.text
        shapes.problem(answer.json(), path)


def test_a_parameter_given_twice_and_a_bent_query(api: Api) -> None:
    """Otherwise two readers of the same address would see two things."""
    shapes.refused(api.call("sam.sales", "GET", "/requests?limit=1&limit=2"), 422, "invalid")
    shapes.refused(api.call("sam.sales", "GET", "/requests?status=%ff"), 400, "malformed")
    shapes.refused(api.get("auditor", "/audit/logs", requestId="x"), 422, "invalid")
    shapes.refused(api.get("auditor", "/audit/logs", userId="a", user_id="b"), 422, "invalid")


def test_problems_tell_nothing_of_the_inside(api: Api) -> None:
    """Otherwise an attacker would learn how we are built."""
    for answer in (
        api.call("sam.sales", "POST", "/requests", content=b"{", headers=JSON),
        api.post("sam.sales", "/requests", {"amount": "' OR 1=1 --"}),
        api.get("sam.sales", f"/requests/{uuid.uuid4()}"),
        api.get("sam.sales", "/requests", cursor="'; SELECT 1"),
    ):
        text = answer.text.lower()
        assert not [
            word
            for word in ("traceback", "select ", "asyncpg", "pydantic", "kafka", "site-packages", ".py")
            if word in text
        ]
