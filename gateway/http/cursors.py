"""Signed list cursors: where a page ended, bound to the user and to the list with its filters."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Any

import orjson

from gateway.http.problems import Problem, invalid_at
from ops.secrets.secret import Secret

_MAC_BYTES = 16
_LONGEST = 1024


class Cursors:
    """Writes and reads cursors. A cursor is opaque to clients, and not secret: only its integrity is protected."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def write(self, scope: str, position: list[Any]) -> str:
        """The cursor of a position (plain JSON values) in the list that `scope` names."""
        return self.seal(scope, orjson.dumps(position))

    def read(self, scope: str, cursor: str, length: int) -> list[Any]:
        """The position, `length` values of it.

        Raises:
            Problem: 422 for a cursor that is bent, of another list, of other filters or of another user.
        """
        try:
            position = orjson.loads(self.open(scope, cursor))
            if not isinstance(position, list) or len(position) != length:
                raise ValueError("of an older shape")
        except ValueError:
            raise bad_cursor() from None
        return position

    def seal(self, scope: str, payload: bytes) -> str:
        """A cursor of any bytes."""
        mac = _mac(self._key.signing_keys()[0], scope, payload)
        return base64.urlsafe_b64encode(mac + payload).rstrip(b"=").decode()

    def open(self, scope: str, cursor: str, longest: int = _LONGEST) -> bytes:
        """The bytes that were sealed for that scope.

        Raises:
            Problem: 422 as in `read`.
        """
        try:
            if len(cursor) > longest:
                raise ValueError("too long")
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != cursor:
                raise ValueError("not canonical")
            mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
            if not any(hmac.compare_digest(mac, _mac(key, scope, payload)) for key in self._key.signing_keys()):
                raise ValueError("not ours")
        except (ValueError, binascii.Error):
            raise bad_cursor() from None
        return payload


def _mac(key: str, scope: str, payload: bytes) -> bytes:
    derived = hmac.digest(key.encode(), b"athena list cursor", "sha256")
    return hmac.digest(derived, scope.encode() + b"\x00" + payload, "sha256")[:_MAC_BYTES]


def bad_cursor() -> Problem:
    return invalid_at("/query/cursor", "is not a cursor of this list and these filters; start again without one")
