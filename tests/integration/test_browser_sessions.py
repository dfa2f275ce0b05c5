"""A browser's session: the refresh token in a cookie that neither scripts nor other sites can use."""

from __future__ import annotations

import os
from http.cookies import SimpleCookie

import httpx
import pytest

from tests import stack as stacks
from tests.client import API, PASSWORD, Api

BROWSER = {"X-Athena-Client": "browser"}
#: Over HTTPS the prefix binds the cookie to this host; a browser takes it over nothing else.
COOKIE = "__Host-athena-refresh" if os.environ.get(stacks.TLS) == "1" else "athena-refresh"


@pytest.fixture
def browser(api: Api) -> httpx.Client:
    """Signed in, with the cookies it was given."""
    client = httpx.Client(base_url=api.base, timeout=30)
    answer = client.post(
        f"{API}/auth/login", headers=BROWSER, json={"email": "sue.sales@athena.test", "password": PASSWORD}
    )
    assert answer.status_code == 200
    assert answer.json()["refresh_token"] is None
    client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    return client


def test_scripts_and_other_sites_cannot_have_the_cookie(api: Api) -> None:
    """One script that does not belong there would take a session of 30 days away."""
    answer = httpx.post(
        f"{api.base}{API}/auth/login", headers=BROWSER, json={"email": "sue.sales@athena.test", "password": PASSWORD}
    )
    cookie = next(
        SimpleCookie(each)[COOKIE] for each in answer.headers.get_list("set-cookie") if each.startswith(COOKIE)
    )
    assert cookie["httponly"]
    assert cookie["samesite"] == "Strict"
    assert cookie["path"] == "/"
    assert not cookie["domain"]
    assert cookie.value not in answer.text


def test_it_renews_by_the_cookie_alone(browser: httpx.Client) -> None:
    """The portal would ask for the password every ten minutes."""
    before = browser.cookies[COOKIE]
    answer = browser.post(f"{API}/auth/refresh", headers=BROWSER, json={})
    assert answer.status_code == 200
    assert answer.json()["refresh_token"] is None
    assert browser.cookies[COOKIE] != before
    me = browser.get(f"{API}/users/me", headers={"Authorization": f"Bearer {answer.json()['access_token']}"})
    assert me.json()["id"] == "sue.sales"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "something new"])
def test_a_page_of_another_site_renews_nothing(browser: httpx.Client, site: str) -> None:
    """Whoever lures somebody to a page of theirs would get at the session."""
    answer = browser.post(f"{API}/auth/refresh", headers=BROWSER | {"Sec-Fetch-Site": site}, json={})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert browser.post(f"{API}/auth/refresh", headers=BROWSER, json={}).status_code == 200


def test_without_our_header_the_cookie_counts_for_nothing(browser: httpx.Client) -> None:
    """A form of another site, which can send cookies and no header, would renew and sign out."""
    answer = browser.post(f"{API}/auth/refresh", json={})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/refresh_token"
    assert "set-cookie" not in answer.headers


def test_a_browser_sends_no_token_in_the_body(browser: httpx.Client) -> None:
    """A script that holds a token could pass for a browser that keeps it safe."""
    answer = browser.post(f"{API}/auth/refresh", headers=BROWSER, json={"refresh_token": browser.cookies[COOKIE]})
    assert answer.status_code == 422


def test_signing_out_takes_the_cookie_away(browser: httpx.Client) -> None:
    """The next person at the same computer would be signed in."""
    token = browser.cookies[COOKIE]
    answer = browser.post(f"{API}/auth/logout", headers=BROWSER)
    assert answer.status_code == 204
    assert COOKIE not in browser.cookies
    assert "storage" in answer.headers["clear-site-data"]
    again = browser.post(f"{API}/auth/refresh", headers=BROWSER | {"Cookie": f"{COOKIE}={token}"}, json={})
    assert again.status_code == 401
    assert any(each.startswith(f"{COOKIE}=;") for each in again.headers.get_list("set-cookie"))


def test_a_cookie_that_was_used_twice_ends_the_session(browser: httpx.Client) -> None:
    """A stolen cookie would go on working beside its owner's."""
    stolen = browser.cookies[COOKIE]
    assert browser.post(f"{API}/auth/refresh", headers=BROWSER, json={}).status_code == 200
    thief = httpx.Client(base_url=str(browser.base_url), headers={"User-Agent": "thief"}, timeout=30)
    answer = thief.post(f"{API}/auth/refresh", headers=BROWSER | {"Cookie": f"{COOKIE}={stolen}"}, json={})
    assert answer.status_code == 401
    assert browser.post(f"{API}/auth/refresh", headers=BROWSER, json={}).status_code == 401
