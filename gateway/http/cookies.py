"""Cookies: read by name, written so that no script and no other site gets at them."""

from __future__ import annotations

from gateway.http.call import Call

#: Bytes of the Cookie header that are looked at.
LONGEST_HEADER = 4096


def read(call: Call, name: str) -> str | None:
    """The value of our cookie of that name, None when it did not come."""
    wanted = _name(call, name)
    for part in (call.text_header(b"cookie") or "")[:LONGEST_HEADER].split(";"):
        found, _, value = part.strip().partition("=")
        if found == wanted:
            return value
    return None


def write(call: Call, name: str, value: str, seconds: int) -> tuple[bytes, bytes]:
    """The header that sets it for so many seconds; 0 removes it."""
    secure = "; Secure" if call.services.public.secure else ""
    text = f"{_name(call, name)}={value}; Path=/; Max-Age={seconds}{secure}; HttpOnly; SameSite=Strict"
    return b"set-cookie", text.encode()


def _name(call: Call, name: str) -> str:
    """Browsers take the prefix over HTTPS alone, and then from this host alone."""
    return f"__Host-athena-{name}" if call.services.public.secure else f"athena-{name}"
