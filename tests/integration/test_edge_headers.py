"""What every answer carries, what other sites may do, and whose word on the client's address counts."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import shapes
from tests.client import PASSWORD, Api
from tests.gateways import Gateway
from tests.raw import Answer, Line, head
from tests.stack import wait_until

pytestmark = pytest.mark.xdist_group("edge")

EXPECTED = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=63072000; includeSubDomains",
    "x-content-type-options": "nosniff",
}
PORTAL = "https://portal.example.com"
JSON = "application/json"


def ask(gateway: Gateway, data: bytes) -> Answer:
    with Line(gateway.port) as line:
        line.send(data)
        answer = line.answer(to_head=data.startswith(b"HEAD"))
        assert answer is not None
        return answer


def with_body(method: str, path: str, body: bytes, **headers: str) -> bytes:
    return head(method, path, Content_Length=str(len(body)), **headers) + body


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (head("GET", "/livez"), 200),
        (head("GET", "/api/v1/openapi.json"), 200),
        (head("HEAD", "/livez"), 405),
        (head("GET", "/api/v1/users/me"), 401),
        (head("GET", "/nothing"), 404),
        (head("PATCH", "/api/v1/users/me"), 405),
        (with_body("POST", "/api/v1/auth/login", b"{", Content_Type=JSON), 400),
        (with_body("POST", "/api/v1/auth/login", b"{}", Content_Type="text/plain"), 415),
        (with_body("POST", "/api/v1/auth/login", b"{}", Content_Type=JSON), 422),
        (with_body("POST", "/api/v1/auth/login", b" " * 1_100_000, Content_Type=JSON), 413),
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (head("GET", "/" + "a" * 17_000), 414),
        (head("GET", "/", X_Note="a" * 40_000), 431),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, bytes) else str(value),
)
def test_every_answer_protects_its_reader_and_hides_its_maker(edge: Gateway, data: bytes, status: int) -> None:
    """Otherwise the one answer without a header would be the one that is framed, kept, or read by another site."""
    answer = ask(edge, data)
    assert answer.status == status
    assert {name: answer.header(name) for name in EXPECTED} == EXPECTED
    assert answer.header("x-correlation-id")
    assert answer.header("server") is None
    assert answer.header("x-powered-by") is None
    if answer.status >= 400 and answer.body:
        shapes.problem(answer.json(), str(status))
        assert answer.header("content-type") == "application/problem+json"
    text = (str(answer.headers) + answer.body.decode()).lower() if status >= 400 else str(answer.headers).lower()
    assert not [word for word in ("uvicorn", "httptools", "python", "starlette", "fastapi") if word in text]


def test_no_other_site_may_call_where_none_is_configured(api: Api) -> None:
    """Otherwise any page that a colleague visits could read our answers with what their browser knows."""
    for method in ("GET", "OPTIONS"):
        asked = {"Origin": PORTAL, "Access-Control-Request-Method": "GET"}
        answer = api.call(None, method, "/users/me", headers=asked)
        assert answer.status_code in (401, 405)
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("origin", [PORTAL, "http://localhost:5173"])
def test_a_configured_site_may_call(edge: Gateway, api: Api, origin: str) -> None:
    """Otherwise the portal could not work from a host of its own."""
    asked = head("OPTIONS", "/api/v1/requests", Origin=origin, Access_Control_Request_Method="POST")
    first = ask(edge, asked)
    assert (first.status, first.header("access-control-allow-origin"), first.header("vary")) == (204, origin, "origin")
    assert first.header("access-control-allow-methods") == "GET, POST"
    allowed = str(first.header("access-control-allow-headers")).split(", ")
    assert {"authorization", "content-type", "idempotency-key", "if-match", "dpop"} <= set(allowed)
    mine = ask(edge, head("GET", "/api/v1/users/me", Origin=origin, Authorization=f"Bearer {api.token('sam.sales')}"))
    assert (mine.status, mine.header("access-control-allow-origin")) == (200, origin)
    assert "retry-after" in str(mine.header("access-control-expose-headers"))
    refused = ask(edge, head("GET", "/api/v1/users/me", Origin=origin))
    assert (refused.status, refused.header("access-control-allow-origin")) == (401, origin), (
        "else its code is unreadable"
    )
    for answer in (first, mine, refused):
        assert answer.header("access-control-allow-credentials") is None


@pytest.mark.parametrize(
    "origin",
    [
        "https://portal.example.com.evil.example", "http://portal.example.com", "https://PORTAL.example.com", "null", "*", "",
        "https://portal.example.com:444", "https://evil.example", "https://sub.portal.example.com",
    ],
)  # fmt: skip
def test_a_site_that_looks_like_a_configured_one_may_not(edge: Gateway, origin: str) -> None:
    """Otherwise an attacker would only have to register the right name."""
    asked = head("OPTIONS", "/api/v1/requests", Origin=origin, Access_Control_Request_Method="POST")
    for answer in (ask(edge, asked), ask(edge, head("GET", "/api/v1/users/me", Origin=origin))):
        assert answer.status in (401, 405)
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.header("vary") == "origin", "else a cache would give the portal's answer to others"


def sign_in(gateway: Gateway, who: str, password: str, source: str = "127.0.0.1", **headers: str) -> Answer:
    body = f'{{"email": "{who}@athena.test", "password": "{password}"}}'.encode()
    with Line(gateway.port, source) as line:
        line.send(with_body("POST", "/api/v1/auth/login", body, Content_Type=JSON, **headers))
        answer = line.answer()
        assert answer is not None
        return answer


@pytest.mark.parametrize(
    ("source", "forwarded", "recorded"),
    [
        ("127.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", "9.9.9.9, 203.0.113.8, 10.1.2.3", "203.0.113.8"),
        ("127.0.0.1", "9.9.9.9, <script>, 10.1.2.3", "10.1.2.3"),
        ("127.0.0.1", "[2001:DB8::7]:4711", "2001:db8::7"),
        ("127.0.0.6", "203.0.113.9", "127.0.0.6"),
    ],
)
def test_the_address_on_record_is_the_client_s(
    edge: Gateway, api: Api, source: str, forwarded: str, recorded: str
) -> None:
    """Otherwise anybody could sign in, or try to, under somebody else's address."""
    answer = sign_in(edge, "ana.sales", PASSWORD, source, X_Forwarded_For=forwarded, Forwarded="for=192.0.2.99")
    assert answer.status == 200, answer.body
    correlation = answer.header("x-correlation-id")

    def addresses() -> list[str]:
        items = api.get("auditor", "/audit/logs", userId="ana.sales", limit=200).json()["items"]
        return [item["source_address"] for item in items if item["correlation_id"] == correlation]

    wait_until(addresses, 30, "the sign-in is not on record")
    assert addresses() == [recorded]


def test_passwords_are_tried_at_their_own_rate_by_address(edge: Gateway) -> None:
    """Otherwise a machine could try 300 passwords a second, and keep everybody else from signing in with that."""
    began = time.monotonic()
    with ThreadPoolExecutor(12) as pool:
        answers = list(
            pool.map(
                lambda n: sign_in(edge, f"nobody{n}", "wrong-password-1", X_Forwarded_For="198.51.100.1"), range(12)
            )
        )
    tried = sum(answer.status == 401 for answer in answers)
    assert 3 <= tried <= 3 + 1 + (time.monotonic() - began)
    refused = next(answer for answer in answers if answer.status == 429)
    shapes.problem(refused.json(), "429")
    assert refused.header("retry-after") == "1"
    assert refused.header("ratelimit-limit") == "3"
    assert sign_in(edge, "nobody", "wrong-password-1", X_Forwarded_For="198.51.100.2").status == 401
