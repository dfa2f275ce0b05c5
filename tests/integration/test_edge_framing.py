"""Requests that two readers could take for two things: refused, and nothing of them becomes a request of its own."""

from __future__ import annotations

import pytest

from tests import shapes
from tests.gateways import Gateway
from tests.raw import Line, head

pytestmark = pytest.mark.xdist_group("edge")

HOST = b"Host: localhost\r\n"
POST = b"POST /api/v1/auth/refresh HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET /livez HTTP/1.1\r\n"
#: Would be answered 200, if it were taken for a request.
HIDDEN = head("GET", "/livez")

REFUSED: dict[str, bytes] = {
    "a length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunks and a length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + HIDDEN,
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 60\r\n\r\n{}" + HIDDEN,
    "two equal lengths": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}" + HIDDEN,
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}" + HIDDEN,
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\n{}" + HIDDEN,
    "a negative length": POST + b"Content-Length: -1\r\n\r\n" + HIDDEN,
    "a length in hex": POST + b"Content-Length: 0x2\r\n\r\n{}" + HIDDEN,
    "a length beyond all numbers": POST + b"Content-Length: 18446744073709551618\r\n\r\n{}" + HIDDEN,
    "an empty length": POST + b"Content-Length: \r\n\r\n" + HIDDEN,
    "another coding": POST + b"Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n" + HIDDEN,
    "nearly chunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunked, but not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a blank before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a control character before chunked": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a folded header": GET + HOST + b"X-Note: a\r\n b\r\n\r\n" + HIDDEN,
    "chunks in HTTP/1.0": b"POST /api/v1/auth/refresh HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a chunk size that is none": CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n" + HIDDEN,
    "a chunk size with a prefix": CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n" + HIDDEN,
    "a negative chunk size": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n" + HIDDEN,
    "a chunk size beyond all numbers": CHUNKED + b"10000000000000002\r\n{}\r\n0\r\n\r\n" + HIDDEN,
    "a chunk longer than its size": CHUNKED + b"2\r\n{}{}\r\n0\r\n\r\n" + HIDDEN,
    "a chunk line without carriage return": CHUNKED + b"2\n{}\r\n0\r\n\r\n" + HIDDEN,
    "a length after the chunks": CHUNKED + b"2\r\n{}\r\n0\r\nContent-Length: 60\r\n\r\n" + HIDDEN,
    "lines without carriage return": b"GET /livez HTTP/1.1\nHost: localhost\n\n",
    "a carriage return in a header": GET + HOST + b"X-Note: a\rX-Other: b\r\n\r\n",
    "a NUL in a header": GET + HOST + b"X-Note: a\x00b\r\n\r\n",
    "a blank in a header's name": GET + HOST + b"X Note: a\r\n\r\n",
    "a NUL in the address": b"GET /live\x00z HTTP/1.1\r\n" + HOST + b"\r\n",
    "an address that is no ASCII": b"GET /liv\xc3\xa9z HTTP/1.1\r\n" + HOST + b"\r\n",
    "a fragment in the address": b"GET /livez#there HTTP/1.1\r\n" + HOST + b"\r\n",
    "no host": GET + b"\r\n",
    "two hosts": GET + HOST + b"Host: elsewhere\r\n\r\n",
    "a tunnel": b"CONNECT elsewhere:443 HTTP/1.1\r\n" + HOST + b"\r\n" + HIDDEN,
    "a method that is none": b"FOO /livez HTTP/1.1\r\n" + HOST + b"\r\n",
    "a version that is none": b"GET /livez HTTP/1.2\r\n" + HOST + b"\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused(edge: Gateway, what: str) -> None:
    """Otherwise somebody could hide a request in another, past the proxy before us or into a colleague's connection."""
    with Line(edge.port) as line:
        line.send(REFUSED[what])
        answers = line.answers()
    assert [answer.status for answer in answers] == [400], what
    shapes.problem(answers[0].json(), what)
    assert answers[0].json()["code"] == "malformed"
    assert answers[0].header("connection") == "close"


ONCE = {
    "Authorization": ("Bearer a", "Bearer b"),
    "Content-Type": ("application/json", "text/plain"),
    "Cookie": ("a=b", "c=d"),
    "DPoP": ("a", "b"),
    "Idempotency-Key": ("a", "b"),
    "If-Match": ('"1"', '"2"'),
    "Origin": ("https://a.example", "https://b.example"),
}


@pytest.mark.parametrize("name", ONCE)
def test_a_header_that_decides_comes_once(edge: Gateway, name: str) -> None:
    """Otherwise a proxy would check one value, and we would act on the other."""
    lines = "".join(f"{name}: {value}\r\n" for value in ONCE[name]).encode()
    with Line(edge.port) as line:
        line.send(b"GET /api/v1/users/me HTTP/1.1\r\n" + HOST + lines + b"\r\n" + HIDDEN)
        first, second = line.answer(), line.answer()
    assert first is not None
    assert second is not None
    assert (first.status, first.json()["code"]) == (400, "malformed")
    assert second.status == 200, "the connection is still good"


FINE: dict[str, tuple[bytes, int]] = {
    "the absolute form": (b"GET http://elsewhere.example/livez HTTP/1.1\r\n" + HOST + b"\r\n", 200),
    "HTTP/1.0": (b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200),
    "an upgrade that we do not speak": (
        GET
        + HOST
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
        + HIDDEN,
        200,
    ),
    "an asterisk": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 404),
    "TRACE": (b"TRACE /livez HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 405),
    "an encoded slash": (b"GET /api%2Fv1/users/me HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 404),
    "an encoded backslash": (b"GET /api/v1/users%5cme HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 404),
    "an encoded NUL": (b"GET /api/v1/users/me%00 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 404),
    "dots": (b"GET /api/v1/requests/../users/me HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 404),
    "encoded dots": (b"GET /api/v1/%2e%2e/%2e%2e/livez HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 404),
    "two slashes": (b"GET //livez HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 404),
    "a long id": (b"GET /api/v1/x/" + b"7" * 4000 + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 404),
    "a length that is asked for before it is sent": (
        head("POST", "/api/v1/requests", Content_Length="2", Expect="100-continue"),
        401,
    ),
}


@pytest.mark.parametrize("what", FINE)
def test_what_is_odd_but_clear_gets_one_answer_and_an_end(edge: Gateway, what: str) -> None:
    """Otherwise an odd client would hang, or what it sends next would be taken for something else."""
    data, status = FINE[what]
    with Line(edge.port) as line:
        line.send(data)
        assert [answer.status for answer in line.answers()] == [status]


def test_what_follows_a_body_is_no_header(edge: Gateway) -> None:
    """Otherwise a header that the proxy before us takes out could come in after the body."""
    with Line(edge.port) as line:
        line.send(CHUNKED + b"2\r\n{}\r\n0\r\nX-Correlation-Id: after-the-body\r\nConnection: close\r\n\r\n")
        answer = line.answer()
    assert answer is not None
    assert answer.status == 422
    assert answer.header("x-correlation-id") != "after-the-body"


def test_a_broken_request_is_answered_after_those_before_it(edge: Gateway) -> None:
    """Otherwise its refusal would be taken for the answer to somebody else's request on the same connection."""
    with Line(edge.port) as line:
        line.send(head("GET", "/readyz") + head("GET", "/livez") + b"GARBAGE\r\n\r\n" + HIDDEN)
        assert [answer.status for answer in line.answers()] == [200, 200, 400]
    with Line(edge.port) as line:
        line.send(head("GET", "/readyz") + CHUNKED + b"zz\r\n" + HIDDEN)
        assert [answer.status for answer in line.answers()] == [200, 400]


def test_who_wants_to_end_is_not_told_more(edge: Gateway) -> None:
    """Otherwise a proxy that has handed the connection back would take the refusal for another client's answer."""
    with Line(edge.port) as line:
        line.send(head("GET", "/readyz", Connection="close") + b"GARBAGE\r\n\r\n")
        assert [answer.status for answer in line.answers()] == [200]


def test_few_requests_may_wait_on_a_connection(edge: Gateway) -> None:
    """Otherwise one connection could fill the memory with requests that nobody has begun."""
    with Line(edge.port) as line:
        line.send(head("GET", "/readyz") * 100)
        statuses = [answer.status for answer in line.answers()]
    assert statuses == [200] * 17 + [400]


def test_the_next_request_is_read_as_it_was_sent(edge: Gateway) -> None:
    """Otherwise the rest of a refused request would be the beginning of the next."""
    body = b'{"refresh_token": "' + b"x" * 200 + b'"}' + HIDDEN
    with Line(edge.port) as line:
        for _ in range(3):
            line.send(head("POST", "/api/v1/requests", Content_Length=str(len(body))) + body)
            answer = line.answer()
            assert answer is not None
            assert answer.status == 401, "refused before its body is read"
            line.send(head("GET", "/livez"))
            answer = line.answer()
            assert answer is not None
            assert answer.body == b'{"status":"ok"}'
