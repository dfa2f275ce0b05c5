"""Password hashes: argon2id, in two threads: one for devices that are known, one for strangers. The rules have a third.

A check takes as long for an account that does not exist. Strangers cannot take the time of those who are known, and cost the
machine one core at most; nor can one account, however often its owner signs in, take it from the others.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from gateway.http.problems import unavailable
from gateway.identity.password_rules import check, normal
from gateway.turns import Lanes, Shares

#: OWASP's first choice of argon2id parameters: 46 MiB, one pass, one lane.
HASHER = PasswordHasher(time_cost=1, memory_cost=47104, parallelism=1)
#: About 50 ms each: whoever is let in waits 3 s, and on a machine that is too busy as long as this, in seconds.
MAX_WAITING = 64
LONGEST = 10.0
#: Of one account, in the thread of those who are known; more go with the strangers.
OF_ONE_ACCOUNT = 4

Result = TypeVar("Result")


class _Lane:
    """One thread, and a queue with an end."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting = 0

    async def run(self, work: Callable[..., Result], *arguments: object) -> Result:
        if self._waiting >= MAX_WAITING:
            raise unavailable("Too many sign-ins at once.", retry_after=2)
        self._waiting += 1
        try:
            # What has not begun by then does not begin any more.
            async with asyncio.timeout(LONGEST):
                return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        except TimeoutError:
            raise unavailable("Sign-ins take too long at this moment.", retry_after=2) from None
        finally:
            self._waiting -= 1

    def stop(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class Passwords:
    """Bounded: two checks at a time (92 MiB), 64 in each queue. All methods raise Problem 503 when too many wait already."""

    def __init__(self) -> None:
        self._known = _Lane("argon2-known")
        self._strangers = _Lane("argon2-strangers")
        self._rules = _Lane("password-rules")
        self._one_of_each = Lanes(MAX_WAITING, LONGEST)
        self._shares = Shares(OF_ONE_ACCOUNT)
        self._nobody = HASHER.hash(secrets.token_urlsafe(32))

    async def matches(self, account: str, stored: str | None, password: str, *, known: bool) -> bool:
        """Whether the password belongs to the hash; None is nobody's hash, which takes the same time and never matches."""
        right = await self._run(account, known, _matches, stored or self._nobody, password)
        return right and stored is not None

    async def accepted(self, account: str, password: str, email: str, name: str, pointer: str) -> None:
        """Raises Problem 422 at `pointer` for a password that is not good enough for this person; one of an account at a time."""
        try:
            async with self._one_of_each.lane((account, 1)):
                await self._rules.run(check, password, email, name, pointer)
        except TimeoutError:
            raise unavailable("Too many passwords are looked at already.", retry_after=2) from None

    async def hash(self, account: str, password: str, *, known: bool) -> str:
        """The hash to be stored."""
        return await self._run(account, known, _hash, password)

    async def _run(self, account: str, known: bool, work: Callable[..., Result], *arguments: object) -> Result:
        with self._shares.share(account) if known else nullcontext(False) as first:
            return await (self._known if first else self._strangers).run(work, *arguments)

    def stop(self) -> None:
        self._known.stop()
        self._strangers.stop()
        self._rules.stop()


def _matches(stored: str, password: str) -> bool:
    try:
        return HASHER.verify(stored, _bytes(password))
    except (Argon2Error, InvalidHashError):
        return False


def _hash(password: str) -> str:
    return HASHER.hash(_bytes(password))


def _bytes(password: str) -> bytes:
    return normal(password).encode("utf-8", "surrogatepass")
