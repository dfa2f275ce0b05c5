"""How cookies are written depends on the address by which the gateway is known."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.http import cookies
from gateway.http.call import Call
from gateway.http.public import PublicUrl


def _call(url: str, header: bytes = b"") -> Call:
    class Services:
        public = PublicUrl(url, "127.0.0.1", 8000)

    services: Any = Services()
    scope = {"type": "http", "headers": [(b"cookie", header)], "method": "GET", "path": "/"}
    return Call(scope, None, services)  # type: ignore[arg-type]


def test_over_https_a_cookie_is_of_this_host_and_secure() -> None:
    """Another host of the domain could set it, or a plain connection show it."""
    name, text = cookies.write(_call("https://budget.example.com"), "refresh", "v", 60)
    assert name == b"set-cookie"
    assert text == b"__Host-athena-refresh=v; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Strict"


def test_over_plain_http_it_has_the_name_that_browsers_take() -> None:
    """On one's own machine nobody could sign in with a browser."""
    _, text = cookies.write(_call("http://127.0.0.1:8000"), "refresh", "v", 60)
    assert text == b"athena-refresh=v; Path=/; Max-Age=60; HttpOnly; SameSite=Strict"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (b"__Host-athena-refresh=a", "a"),
        (b"x=1; __Host-athena-refresh=a; y=2", "a"),
        (b"athena-refresh=planted", None),
        (b"__Secure-athena-refresh=planted", None),
        (b"x__Host-athena-refresh=a", None),
        (b"", None),
        (b"x=" + b"y" * 5000 + b"; __Host-athena-refresh=a", None),
    ],
)
def test_only_the_cookie_of_that_name_is_read(header: bytes, value: str | None) -> None:
    """A cookie that somebody planted over a plain connection would count."""
    assert cookies.read(_call("https://budget.example.com", header), "refresh") == value
