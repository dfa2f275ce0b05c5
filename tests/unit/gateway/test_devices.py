"""The device that a call comes from: told apart from others, and nothing taken from it that it cannot say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from gateway.http.call import Call
from gateway.http.public import PublicUrl
from gateway.identity.devices import Device, DeviceCookies, set_cookie
from ops.secrets.secret import Secret

COOKIE = f"{'A' * 43}.{'P' * 16}.{'B' * 22}"
HTTPS, HTTP = PublicUrl("https://budget.example.com", "", 0), PublicUrl("", "127.0.0.1", 8000)


def call(public: PublicUrl = HTTPS, **headers: str) -> Call:
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("192.0.2.1", 1),
    }
    return Call(scope, cast(Any, None), cast(Any, SimpleNamespace(public=public)))


def test_a_cookie_comes_back_and_others_are_passed_over() -> None:
    """The owner's browser would be a stranger at each sign-in, or anybody's text would count as a device."""
    assert Device.of(call(cookie=f"a=b; __Host-athena-device={COOKIE}; c=d")).cookie == COOKIE
    assert Device.of(call(HTTP, cookie=f"athena-device={COOKIE}")).cookie == COOKIE
    for odd in (f"athena-device={COOKIE}", f"__Host-athena-device={COOKIE}x", "__Host-athena-device=", "nonsense"):
        assert Device.of(call(cookie=odd)).cookie is None, odd


def test_the_cookie_is_for_this_host_and_no_script() -> None:
    """A page with a hole could read it, or a neighbour's host could plant one."""
    name, value = set_cookie(call(), Device("192.0.2.1", None, cookie=COOKIE))
    assert name == b"set-cookie"
    parts = value.decode().split("; ")
    assert parts[0] == f"__Host-athena-device={COOKIE}"
    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"} <= set(parts)


def test_a_cookie_is_kept_only_where_its_owner_signed_in_with_it() -> None:
    """Somebody could plant a cookie in a colleague's browser and be known in their name afterwards."""
    cookies = DeviceCookies(Secret("cursor_key", "k" * 32))
    device = Device("192.0.2.1", None, cookie=cookies.new("sam"))
    assert cookies.given(device, "sam", set(device.places)) == device
    planted = cookies.given(device, "sam", set()).cookie
    assert planted != device.cookie
    assert cookies.made("sam", planted)


def test_a_cookie_of_a_key_that_is_gone_is_replaced_at_the_next_sign_in() -> None:
    """After a change of the key every known device would stand among the strangers for as long as it lives."""
    former, cookies = DeviceCookies(Secret("cursor_key", "l" * 32)), DeviceCookies(Secret("cursor_key", "k" * 32))
    device = Device("192.0.2.1", None, cookie=former.new("sam"))
    assert cookies.made("sam", cookies.given(device, "sam", set(device.places)).cookie)


def test_only_a_key_and_a_cookie_make_a_device_that_nobody_can_imitate() -> None:
    """Whoever sits in the owner's office, or knows a device id, would be served as the owner's own device."""
    device = Device("192.0.2.1", "phone/1", "phone 7", COOKIE, "key")
    assert Device("192.0.2.1", "phone/1", "phone 7").strong_places == []
    assert len(device.strong_places) == len(device.weak_places) == 2
    assert device.places == device.strong_places + device.weak_places


def test_only_cookies_that_were_made_for_an_account_go_ahead() -> None:
    """A flood with made-up cookies would stand before the owner's."""
    cookies, others = DeviceCookies(Secret("cursor_key", "k" * 32)), DeviceCookies(Secret("cursor_key", "l" * 32))
    made = cookies.new("sam")
    assert Device.of(call(cookie=f"__Host-athena-device={made}")).cookie == made
    assert cookies.made("sam", made)
    bent = made[:-1] + ("A" if made[-1] != "A" else "Q")
    value, _, mac = made.split(".")
    moved = ".".join((value, cookies.new("sue").split(".")[1], mac))
    for user, cookie in (
        ("sue", made),
        ("sam", None),
        ("sam", COOKIE),
        ("sam", bent),
        ("sue", moved),
        ("sam", others.new("sam")),
    ):
        assert not cookies.made(user, cookie), (user, cookie)


def test_a_cookie_says_without_a_body_that_it_is_ours_and_which_belong_to_one_account() -> None:
    """The owner's device could not be told from a flood behind its address, or many cookies of one account would count as many."""
    cookies, others = DeviceCookies(Secret("cursor_key", "k" * 32)), DeviceCookies(Secret("cursor_key", "l" * 32))

    def account(cookie: str) -> str | None:
        return cookies.account_of(call(cookie=f"__Host-athena-device={cookie}"))

    one, other, sues = cookies.new("sam"), cookies.new("sam"), cookies.new("sue")
    assert one != other
    assert account(one) == account(other) is not None
    assert account(sues) not in (None, account(one))
    assert "sam" not in one
    value, pseudonym, mac = one.split(".")
    bent = (COOKIE, others.new("sam"), f"{value}.{sues.split('.')[1]}.{mac}", f"{'A' * 43}.{pseudonym}.{mac}")
    assert [account(cookie) for cookie in bent] == [None] * len(bent)
    assert cookies.account_of(call()) is None


def test_devices_are_told_apart_by_their_key_or_by_all_that_they_say() -> None:
    """A thief's retry would be taken for the owner's."""
    plain = Device("192.0.2.1", "phone/1", "phone 7", COOKIE)
    others = [Device("192.0.2.1", "phone/2", "phone 7", COOKIE), Device("192.0.2.1", "phone/1", None, COOKIE)]
    others += [
        Device("192.0.2.1", "phone/1", "phone 7", None),
        Device("192.0.2.1", "phone/1", "phone 7", COOKIE, "key"),
    ]
    assert plain.fingerprint not in {other.fingerprint for other in others}
    assert Device("192.0.2.9", "phone/1", "phone 7", COOKIE).fingerprint == plain.fingerprint
    assert Device("192.0.2.1", "phone/2", None, None, "key").fingerprint == others[-1].fingerprint


def test_a_user_agent_is_kept_without_what_does_not_print() -> None:
    """Somebody could write lines of their own into what an operator reads."""
    assert Device.of(call(user_agent="phone\x1b[31m\r\n1")).user_agent == "phone?[31m??1"
    assert len(Device.of(call(user_agent="x" * 9000)).user_agent or "") == 200
