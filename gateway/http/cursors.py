"""Cursors: where a page ended, bound to the user and to the list with its filters. Those of lists are signed, those of updates
encrypted as well."""

from __future__ import annotations

import base64
import contextlib
import hmac
import os
from functools import lru_cache
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.http.problems import Problem, invalid_at
from ops.secrets.secret import Secret

_MAC_BYTES = 16
_NONCE_BYTES = 12
_LONGEST = 1024


class Cursors:
    """Writes and reads cursors, which are opaque to clients. Of a list's only the integrity is protected."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def write(self, scope: str, position: list[Any]) -> str:
        """The cursor of a position (plain JSON values) in the list that `scope` names."""
        payload = orjson.dumps(position)
        return _text(_mac(self._key.signing_keys()[0], scope, payload) + payload)

    def read(self, scope: str, cursor: str, length: int) -> list[Any]:
        """The position, `length` values of it.

        Raises:
            Problem: 422 for a cursor that is bent, of another list, of other filters or of another user.
        """
        try:
            raw = _bytes(cursor, _LONGEST)
            mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
            if not any(hmac.compare_digest(mac, _mac(key, scope, payload)) for key in self._key.signing_keys()):
                raise ValueError("not ours")
            position = orjson.loads(payload)
            if not isinstance(position, list) or len(position) != length:
                raise ValueError("of an older shape")
        except ValueError:
            raise bad_cursor() from None
        return position

    def seal(self, scope: str, payload: bytes) -> str:
        """A cursor that nobody else can read: how far the log is would say how busy the others are."""
        nonce = os.urandom(_NONCE_BYTES)
        return _text(nonce + _cipher(self._key.signing_keys()[0]).encrypt(nonce, payload, scope.encode()))

    def open(self, scope: str, cursor: str, longest: int = _LONGEST) -> bytes:
        """The bytes that were sealed for that scope.

        Raises:
            Problem: 422 as in `read`.
        """
        try:
            raw = _bytes(cursor, longest)
            for key in self._key.signing_keys():
                with contextlib.suppress(InvalidTag):
                    return _cipher(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], scope.encode())
        except ValueError:
            pass
        raise bad_cursor()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(cursor: str, longest: int) -> bytes:
    """What `_text` wrote. Raises ValueError for anything else."""
    if len(cursor) > longest:
        raise ValueError("too long")
    raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    if _text(raw) != cursor:
        raise ValueError("not canonical")
    return raw


@lru_cache(maxsize=8)
def _cipher(key: str) -> AESGCM:
    return AESGCM(hmac.digest(key.encode(), b"athena sealed cursor", "sha256"))


def _mac(key: str, scope: str, payload: bytes) -> bytes:
    derived = hmac.digest(key.encode(), b"athena list cursor", "sha256")
    return hmac.digest(derived, scope.encode() + b"\x00" + payload, "sha256")[:_MAC_BYTES]


def bad_cursor() -> Problem:
    return invalid_at("/query/cursor", "is not a cursor of this list and these filters; start again without one")
