"""The device that a call comes from, as far as it says so, and the places by which an account's owner is known again.

Whoever knows a `device_id`, or sits behind the same address, is known too. The device cookie cannot be guessed, and neither
can the key of a DPoP proof: see ADR 13.

A cookie is `<256 random bits>.<pseudonym of the account>.<MAC of both>`, so that it says of itself, before a body is read or a
database asked, that it is ours and which cookies belong to one account. The pseudonym tells nobody else whose it is.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, replace

from gateway.http import cookies
from gateway.http.addresses import network_of
from gateway.http.call import Call
from ops.secrets.secret import Secret

#: How long a device is known after its last sign-in.
KNOWN_DAYS = 90
LONGEST_USER_AGENT = 200
_ODD = re.compile(r"[^ -~\xa0-\xff]")
_COOKIE = "device"
_MAC_BYTES = 16
_PSEUDONYM_BYTES = 12
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}\.[A-Za-z0-9_-]{16}\.[A-Za-z0-9_-]{22}")


@dataclass(frozen=True, slots=True)
class Device:
    """`cookie` is the device cookie that came with the call, `jkt` the thumbprint of the key that its DPoP proof proved."""

    address: str
    user_agent: str | None
    device_id: str | None = None
    cookie: str | None = None
    jkt: str | None = None

    @classmethod
    def of(cls, call: Call, device_id: str | None = None, jkt: str | None = None) -> Device:
        """The device of this call."""
        agent = _ODD.sub("?", call.text_header(b"user-agent") or "")
        return cls(
            address=call.address,
            user_agent=agent[:LONGEST_USER_AGENT] or None,
            device_id=device_id,
            cookie=_cookie(call),
            jkt=jkt,
        )

    @property
    def strong_places(self) -> list[bytes]:
        """By what nobody else can be taken for it, the hardest to imitate first."""
        return _places(("key", self.jkt), ("cookie", self.cookie))

    @property
    def weak_places(self) -> list[bytes]:
        """By what it is known again, and whoever says the same or sits behind the same address."""
        return _places(("device", self.device_id), ("address", network_of(self.address)))

    @property
    def places(self) -> list[bytes]:
        """By what it is known again, the hardest to imitate first."""
        return self.strong_places + self.weak_places

    @property
    def fingerprint(self) -> str:
        """What tells this device from another that presents the same refresh token: its key, else all that it says of itself."""
        return _hash(self.jkt or f"{self.device_id}\0{self.cookie}\0{self.user_agent}").hex()[:32]


class DeviceCookies:
    """Makes device cookies, and knows without asking PostgreSQL which it made: those go ahead of a flood."""

    def __init__(self, key: Secret) -> None:
        """`key` is that of the cursors. A cookie of a key that is gone does not go ahead any more; PostgreSQL still knows it."""
        self._key = key

    def new(self, user_id: str) -> str:
        """A cookie for a device of this account."""
        key = self._key.signing_keys()[0]
        text = f"{secrets.token_urlsafe(32)}.{_pseudonym(key, user_id)}"
        return f"{text}.{_mac(key, text)}"

    def made(self, user_id: str, cookie: str | None) -> bool:
        """Whether it was made for this account. It may have been ended since: PostgreSQL knows."""
        account = self._account(cookie)
        return account is not None and account in {_pseudonym(key, user_id) for key in self._key.signing_keys()}

    def account_of(self, call: Call) -> str | None:
        """The pseudonym of the account whose cookie came with the call, None without one that we made. Costs a few MACs."""
        return self._account(_cookie(call))

    def given(self, device: Device, user_id: str, known: set[bytes]) -> Device:
        """With the cookie that the device gets at its sign-in: its own where its owner signed in with that before and the key is
        in use, else a new one. So nobody can plant one that they know.
        """
        cookie = device.cookie
        kept = cookie is not None and _place("cookie", cookie) in known and self.made(user_id, cookie)
        return device if kept else replace(device, cookie=self.new(user_id))

    def _account(self, cookie: str | None) -> str | None:
        text, _, mac = (cookie or "").rpartition(".")
        keys = self._key.signing_keys()
        ours = any(hmac.compare_digest(mac.encode(), _mac(key, text).encode()) for key in keys)
        return text.partition(".")[2] if ours else None


def set_cookie(call: Call, device: Device) -> tuple[bytes, bytes]:
    """The header that gives the device its cookie."""
    return cookies.write(call, _COOKIE, device.cookie or "", KNOWN_DAYS * 86400)


def _cookie(call: Call) -> str | None:
    value = cookies.read(call, _COOKIE)
    return value if value is not None and _TOKEN.fullmatch(value) else None


def _mac(key: str, text: str) -> str:
    return _digest(key, "cookie", text, _MAC_BYTES)


def _pseudonym(key: str, user_id: str) -> str:
    return _digest(key, "account", user_id, _PSEUDONYM_BYTES)


def _digest(key: str, purpose: str, text: str, length: int) -> str:
    own = hmac.digest(key.encode(), f"athena device {purpose}".encode(), "sha256")
    return base64.urlsafe_b64encode(hmac.digest(own, text.encode(), "sha256")[:length]).rstrip(b"=").decode()


def _places(*kinds: tuple[str, str | None]) -> list[bytes]:
    return [_place(kind, value) for kind, value in kinds if value is not None]


def _place(kind: str, value: str) -> bytes:
    return _hash(f"{kind}\0{value}")


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
