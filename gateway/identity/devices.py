"""The device that a call comes from, as far as it says so, and the places by which an account's owner is known again.

Whoever knows a `device_id`, or sits behind the same address, is known too. The device cookie cannot be guessed, and neither
can the key of a DPoP proof: see ADR 13.
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
#: 256 random bits, and a MAC of them and the account.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}\.[A-Za-z0-9_-]{22}")


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

    def with_cookie(self, known: set[bytes], new: str) -> Device:
        """With a cookie that its owner signed in with before, or else the `new` one: nobody can plant one that they know."""
        kept = self.cookie is not None and _place("cookie", self.cookie) in known
        return self if kept else replace(self, cookie=new)

    @property
    def fingerprint(self) -> str:
        """What tells this device from another that presents the same refresh token: its key, else all that it says of itself."""
        return _hash(self.jkt or f"{self.device_id}\0{self.cookie}\0{self.user_agent}").hex()[:32]


class DeviceCookies:
    """Makes device cookies, and knows without asking PostgreSQL which it made for an account: those go ahead of a flood."""

    def __init__(self, key: Secret) -> None:
        """`key` is that of the cursors. A cookie of a key that is gone does not go ahead any more; PostgreSQL still knows it."""
        self._key = key

    def new(self, user_id: str) -> str:
        """A cookie for a device of this account."""
        value = secrets.token_urlsafe(32)
        return f"{value}.{_mac(self._key.signing_keys()[0], user_id, value)}"

    def made(self, user_id: str, cookie: str | None) -> bool:
        """Whether it was made for this account. It may have been ended since: PostgreSQL knows."""
        value, _, mac = (cookie or "").partition(".")
        keys = self._key.signing_keys()
        return any(hmac.compare_digest(mac.encode(), _mac(key, user_id, value).encode()) for key in keys)


def set_cookie(call: Call, device: Device) -> tuple[bytes, bytes]:
    """The header that gives the device its cookie."""
    return cookies.write(call, _COOKIE, device.cookie or "", KNOWN_DAYS * 86400)


def _cookie(call: Call) -> str | None:
    value = cookies.read(call, _COOKIE)
    return value if value is not None and _TOKEN.fullmatch(value) else None


def _mac(key: str, user_id: str, value: str) -> str:
    own = hmac.digest(key.encode(), b"athena device cookie", "sha256")
    mac = hmac.digest(own, f"{user_id}\0{value}".encode(), "sha256")[:_MAC_BYTES]
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def _places(*kinds: tuple[str, str | None]) -> list[bytes]:
    return [_place(kind, value) for kind, value in kinds if value is not None]


def _place(kind: str, value: str) -> bytes:
    return _hash(f"{kind}\0{value}")


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
