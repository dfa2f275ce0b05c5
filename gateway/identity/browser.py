"""Sessions of browsers: the refresh token lies in a cookie that no script can read, and counts with a header of ours alone.

A page of another site can make a browser send a cookie, but no header of its own without asking first (the Fetch standard,
CORS preflight), and `SameSite=Strict` keeps the cookie back besides.
"""

from __future__ import annotations

from typing import Any

from gateway.http import cookies
from gateway.http.answers import RawHeaders
from gateway.http.call import Call
from gateway.http.problems import Problem, forbidden, invalid_at
from gateway.identity.grants import SESSION_DAYS

#: A browser's calls that sign in, renew and sign out carry this header with the value `browser`.
HEADER = b"x-athena-client"
BROWSER = b"browser"
_COOKIE = "refresh"
#: What a browser itself says of where a call comes from (Fetch Metadata); older ones say nothing.
_OWN_SITE = frozenset({None, b"same-origin", b"none"})


def is_browser(call: Call) -> bool:
    """Whether the call asks for a browser's session. Raises Problem 403 when a page of another site made it."""
    if call.raw_headers.get(HEADER) != BROWSER:
        return False
    if call.raw_headers.get(b"sec-fetch-site") not in _OWN_SITE:
        raise forbidden()
    return True


def presented(call: Call, given: str | None) -> str | None:
    """The refresh token: a browser's from its cookie, None when there is none; everybody else's as `given` in the body.

    Raises:
        Problem: 422 for a body without one, or with one from a browser.
    """
    if is_browser(call):
        if given is not None:
            raise invalid_at("/refresh_token", "comes in the cookie of a browser, not in the body")
        return cookies.read(call, _COOKIE)
    if given is None:
        raise invalid_at("/refresh_token", "Field required")
    return given


def handed_over(call: Call, document: dict[str, Any]) -> tuple[dict[str, Any], RawHeaders]:
    """Body and headers that give a client its tokens: a browser finds null where the refresh token would be."""
    if not is_browser(call):
        return document, ()
    cookie = cookies.write(call, _COOKIE, document["refresh_token"], SESSION_DAYS * 86400)
    return {**document, "refresh_token": None}, (cookie,)


def forgotten(call: Call) -> RawHeaders:
    """Headers that make a browser forget the session; none where it had no cookie."""
    if cookies.read(call, _COOKIE) is None:
        return ()
    return (cookies.write(call, _COOKIE, "", 0), (b"clear-site-data", b'"cache", "storage"'))


def without_session(call: Call, problem: Problem) -> Problem:
    """The problem, with the cookie taken away: its token is worth nothing any more."""
    problem.headers = [*problem.headers, *forgotten(call)]
    return problem
