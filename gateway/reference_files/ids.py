"""Ids for rows that give none: the same row, the same id, whichever gateway reads it and however often."""

from __future__ import annotations

import hmac
import uuid

from ops.secrets.secret import Secret


class DerivedIds:
    """An id stands in the audit chains for ever, and must not say whose it is: without the key nobody can try addresses on it."""

    def __init__(self, key: Secret) -> None:
        self._key = hmac.digest(key.current().split()[0].encode(), b"athena import id", "sha256")

    def of(self, *words: str) -> str:
        """The UUID of these words."""
        text = "\x1f".join(words)
        return str(uuid.UUID(bytes=hmac.digest(self._key, text.encode(), "sha256")[:16], version=5))
