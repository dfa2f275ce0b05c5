"""`athena keys`: changes the file of the token signing keys. Every gateway notices by itself.

A new key is published before it signs, the one before it stays published until its last token has expired: nobody is signed out.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.identity.keys import KeyRing, TokenKey
from gateway.identity.tokens import LIFETIME
from ops.secrets.secret import BadSecret
from ops.stack.credentials import new_token_key
from ops.stack.errors import StackError
from ops.stack.records import write_text

#: Seconds from publishing a key to its first signature: the JWKS may be cached for 30, a gateway may look for its keys only every
#: 66 (AWS Secrets Manager), and clocks differ by 5.
AHEAD = 120
#: Seconds from a key's last signature until it is retired: its tokens' life, and a gateway whose clock or look is late.
OVERLAP = LIFETIME + 120

Change = Callable[[KeyRing, int], list[dict[str, Any]]]


class WrongKey(Exception):
    """There is no such key, or it must not be retired like that; the message says what to do."""


def read(file: Path) -> KeyRing:
    """The keys in the file. Raises StackError."""
    try:
        return KeyRing.parse(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise StackError(
            f"Cannot read the token keys in {file}: {error.strerror}. Name a home that was started."
        ) from None
    except (BadSecret, UnicodeDecodeError) as error:
        why = str(error) if isinstance(error, BadSecret) else "it is not UTF-8"
        raise StackError(f"The token keys in {file} are no good: {why}. Restore the file from a backup.") from None


def change(file: Path, how: Change, now: int) -> KeyRing:
    """Replace the file's keys by what `how` makes of them; two at once come one after the other. Returns the new keys.

    Raises:
        StackError: the file cannot be read or written. WrongKey: from `how`.
    """
    try:
        with _alone(file.resolve().parent):
            text = json.dumps(how(read(file), now))
            ring = KeyRing.parse(text)
            write_text(file.resolve(), text + "\n", stat.S_IMODE(file.stat().st_mode))
    except OSError as error:
        raise StackError(
            f"Cannot write the token keys to {file}: {error.strerror}. Run this as the file's owner."
        ) from None
    except BadSecret as error:
        raise WrongKey(f"That would leave keys that are no good: {error}. Nothing was changed.") from None
    return ring


def rotated(ahead: int = AHEAD) -> Change:
    """A new key that signs in `ahead` seconds; the others retire when their tokens have expired, what is retired goes."""

    def rotate(ring: KeyRing, now: int) -> list[dict[str, Any]]:
        begins = now + ahead
        kept = [key.jwk | {"retired_at": key.retired_at or begins + OVERLAP} for key in ring.keys if key.accepted(now)]
        return [new_token_key() | {"not_before": begins}, *kept]

    return rotate


def retired(kid: str, *, at_once: bool) -> Change:
    """That key retires: when its last token has expired, or `at_once`, with another key (a new one if need be) that signs."""

    def retire(ring: KeyRing, now: int) -> list[dict[str, Any]]:
        if ring.accepted(kid, now) is None:
            raise WrongKey(f"There is no key {kid} in use. See: athena keys list")
        staying = [key for key in ring.keys if key.kid != kid and key.retired_at is None]
        if at_once:
            jwks = [key.jwk | {"retired_at": now} if key.kid == kid else key.jwk for key in ring.keys]
            if not staying:
                return [new_token_key() | {"not_before": now}, *jwks]
            first = staying[0].kid
            return [
                jwk | {"not_before": min(now, jwk.get("not_before", 0))} if jwk["kid"] == first else jwk for jwk in jwks
            ]
        if not staying:
            raise WrongKey(f"No other key could sign. Run: athena keys rotate, or athena keys retire {kid} --now")
        ends = max(now, staying[0].not_before) + OVERLAP
        return [key.jwk | {"retired_at": key.retired_at or ends} if key.kid == kid else key.jwk for key in ring.keys]

    return retire


def described(ring: KeyRing, now: float) -> list[dict[str, Any]]:
    """Each key without anything secret: `kid`, `alg`, `state` (signs, next, retiring, retired), `not_before`, `retired_at`."""
    signing = ring.signing(now)
    return [
        {
            "kid": key.kid,
            "alg": key.algorithm,
            "state": _state(key, signing, now),
            "not_before": key.not_before,
            "retired_at": key.retired_at,
        }
        for key in ring.keys
    ]


def _state(key: TokenKey, signing: TokenKey, now: float) -> str:
    if not key.accepted(now):
        return "retired"
    if key is signing:
        return "signs"
    return "next" if key.not_before > now else "retiring"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which needs no file of its own."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
