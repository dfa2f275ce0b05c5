"""Clients that send too much, too slowly, or do not read: each costs its own connection and nothing else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests import shapes
from tests.client import Api
from tests.gateways import Gateway
from tests.integration.conftest import SHORT
from tests.raw import Line, head
from tests.stack import wait_until

pytestmark = pytest.mark.xdist_group("edge")

CHUNKED = head("POST", "/api/v1/auth/refresh", Transfer_Encoding="chunked", Content_Type="application/json")
#: A deadline is noticed within a quarter of it; the rest is a busy machine.
LATE = SHORT + 15.0
DRIP = SHORT / 5


@contextlib.contextmanager
def open_lines(gateway: Gateway, count: int, source: str = "127.0.0.1") -> Iterator[list[Line]]:
    with contextlib.ExitStack() as lines:
        yield [lines.enter_context(Line(gateway.port, source)) for _ in range(count)]


def ended(gateway: Gateway, reason: str) -> float:
    """How many connections were ended for the reason."""
    return gateway.figure(f'athena_gateway_connections_refused_total{{reason="{reason}"}}')


def drip(*lines: tuple[Line, bytes]) -> float:
    """Send each a byte now and then until the other side has had enough; the seconds that the first one had."""
    began = time.monotonic()
    first = 0.0
    left = list(lines)
    while left:
        left = [(line, byte) for line, byte in left if line.send(byte)]
        if len(left) < len(lines) and not first:
            first = time.monotonic() - began
        assert time.monotonic() - began < LATE, "the connection is kept"
        time.sleep(DRIP)
    return first


@pytest.mark.parametrize(
    ("what", "data", "status"),
    [
        ("a long address", b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        ("an address without end", b"GET /" + b"a" * 500_000, 414),
        ("a long header", head("GET", "/livez", X_Note="a" * 40_000), 431),
        ("a header without end", b"GET /livez HTTP/1.1\r\nX-Note: " + b"a" * 500_000, 431),
        ("long headers together", head("GET", "/livez", **{f"X_{n}": "a" * 4_000 for n in range(10)}), 431),
        ("a trailer without end", CHUNKED + b"0\r\nX-Note: " + b"a" * 500_000, 431),
        ("a chunk's extension without end", CHUNKED + b"2;" + b"a" * 500_000, 431),
        ("many headers", head("GET", "/livez", **{f"X_{n}": "a" for n in range(120)}), 431),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_head_is_bounded(edge: Gateway, what: str, data: bytes, status: int) -> None:
    """Otherwise a few requests could fill the memory before anybody is asked who they are."""
    with Line(edge.port) as line:
        line.send(data)
        answers = line.answers()
    assert [answer.status for answer in answers] == [status], what
    shapes.problem(answers[0].json(), what)
    assert answers[0].json()["code"] == "too-large"


def test_ordinary_heads_are_within_the_bounds(edge: Gateway, api: Api) -> None:
    """Otherwise browsers with long tokens and cookies, behind proxies that add headers, would be refused."""
    more = {f"X_{number}": "a" * 200 for number in range(60)}
    sent = head(
        "GET",
        "/api/v1/users/me?" + "a" * 4_000,
        Authorization=f"Bearer {api.token('sam.sales')}",
        Cookie="c" * 4_000,
        **more,
    )
    with Line(edge.port) as line:
        line.send(sent)
        answer = line.answer()
    assert answer is not None
    assert answer.status == 200


def test_a_head_that_does_not_end_gives_up_its_place(edge: Gateway) -> None:
    """Otherwise a thousand clients that send a byte now and then would keep all others out (slowloris)."""
    before = ended(edge, "slow-head")
    starts = (b"GET /livez HTTP/1.1\r\nX-Note: ", b"\r\n", head("GET", "/livez") + b"GET ")
    with open_lines(edge, len(starts)) as lines:
        for line, start in zip(lines, starts, strict=True):
            line.send(start)
        first = drip(
            *((line, b"\r\n" if start == b"\r\n" else b"a") for line, start in zip(lines, starts, strict=True))
        )
        assert first > SHORT * 0.5
        for line in lines:
            statuses = [answer.status for answer in line.answers()]
            assert statuses[-1:] in ([408], []), "the answer, unless the reset has taken it"
    wait_until(lambda: ended(edge, "slow-head") >= before + 3, 10, "not counted")


def test_whoever_says_nothing_is_not_waited_for(edge: Gateway) -> None:
    """Otherwise connections that nobody uses would pile up."""
    with Line(edge.port) as line:
        assert SHORT * 0.5 < line.seconds_until_end() < LATE
    with Line(edge.port) as line:
        line.send(head("GET", "/livez"))
        assert line.answer() is not None
        assert SHORT * 0.5 < line.seconds_until_end() < LATE


def test_a_body_that_does_not_end_gives_up_its_place(edge: Gateway, api: Api) -> None:
    """Otherwise slow bodies would hold what slow heads may not, with a token or without one."""
    token = {"Authorization": f"Bearer {api.token('sam.sales')}", "Content_Type": "application/json"}
    with open_lines(edge, 2) as (signed_in, nobody):
        signed_in.send(head("POST", "/api/v1/requests", Content_Length="100000", **token))
        nobody.send(head("POST", "/api/v1/requests", Content_Length="100000"))
        drip((signed_in, b" "), (nobody, b" "))
        for line, status in ((signed_in, 400), (nobody, 401)):
            assert [answer.status for answer in line.answers()] in ([status], []), "unless the reset has taken it"


def test_what_is_sent_after_the_answer_is_not_read_for_ever(edge: Gateway) -> None:
    """Otherwise somebody without a token could send gigabytes."""
    before = ended(edge, "unread-body")
    piece = b" " * 65_536
    with Line(edge.port) as line:
        line.send(head("POST", "/api/v1/requests", Content_Length=str(1 << 30)))
        sent = 0
        while line.send(piece):
            sent += len(piece)
            assert sent < 100 * 1024 * 1024, "all of it is read"
    wait_until(lambda: ended(edge, "unread-body") == before + 1, 10, "not counted")


def test_whoever_does_not_read_answers_is_not_waited_for(edge: Gateway) -> None:
    """Otherwise answers that nobody reads would fill the memory."""
    before = ended(edge, "slow-reader")
    request = head("GET", "/api/v1/openapi.json")
    counted = 'athena_gateway_request_seconds_count{method="GET",route="/api/v1/openapi.json",status="200"}'
    with Line(edge.port, window=4096) as line:
        answered = edge.figure(counted)
        for sent in range(10, 200, 10):  # the kernel takes the first 4 MB
            line.send(request * 10)
            wait_until(
                lambda: edge.figure(counted) >= answered + sent or ended(edge, "slow-reader") > before,  # noqa: B023
                LATE,
                "neither answered nor ended",
            )
        wait_until(lambda: ended(edge, "slow-reader") == before + 1, LATE, "the connection is kept")
    with Line(edge.port) as line:
        line.send(head("GET", "/livez"))
        assert line.answer() is not None


def test_a_slow_reader_gets_all_that_it_reads_in_time(edge: Gateway) -> None:
    """Otherwise phones on a bad line would never get a long answer."""
    with Line(edge.port, window=4096) as line:
        line.send(head("GET", "/api/v1/openapi.json"))
        time.sleep(SHORT / 2)
        answer = line.answer()
    assert answer is not None
    assert answer.json()["openapi"].startswith("3.1")


def no_connections(gateway: Gateway) -> None:
    wait_until(lambda: gateway.figure("athena_gateway_connections") == 0, LATE, "connections are left")


def test_an_address_has_its_share_of_connections(edge: Gateway) -> None:
    """Otherwise one machine could take all of them."""
    no_connections(edge)
    with open_lines(edge, 8, "127.0.0.2"):
        with Line(edge.port, "127.0.0.2") as ninth:
            answer = ninth.answer()
            assert answer is not None
            shapes.problem(answer.json(), "the ninth connection")
            assert (answer.status, answer.header("retry-after")) == (429, "5")
            names = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")
            assert [answer.header(name) for name in names] == ["8", "0", "5"]
        with Line(edge.port, "127.0.0.3") as other:
            other.send(head("GET", "/livez"))
            answer = other.answer()
            assert answer is not None
            assert answer.status == 200
    no_connections(edge)
    with Line(edge.port, "127.0.0.2") as again:
        again.send(head("GET", "/livez"))
        assert again.answer() is not None


def test_a_full_gateway_says_so_and_is_still_watched(edge: Gateway) -> None:
    """Otherwise a flood would look like a crash, and the gateway be restarted because of it."""
    no_connections(edge)
    with open_lines(edge, 40):
        with Line(edge.port, "127.0.0.4") as one:
            one.send(head("GET", "/api/v1/users/me"))
            answers = one.answers()
            assert [answer.status for answer in answers] == [503]
            shapes.problem(answers[0].json(), "a full gateway")
            assert answers[0].header("retry-after") is not None
        with Line(edge.port, "127.0.0.4") as probe:
            probe.send(head("GET", "/readyz"))
            assert [answer.status for answer in probe.answers()] == [200]
        with open_lines(edge, 64), Line(edge.port, "127.0.0.4") as last:
            last.send(head("GET", "/livez"))
            assert last.answers() == [], "nor is there a place for every probe"
    no_connections(edge)
