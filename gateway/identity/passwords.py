"""Password hashes: argon2id, checked in a small pool of threads, as slowly for an account that does not exist."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from gateway.http.problems import unavailable

#: OWASP's first choice of argon2id parameters: 46 MiB, one pass, one lane.
HASHER = PasswordHasher(time_cost=1, memory_cost=47104, parallelism=1)
THREADS = 2
MAX_WAITING = 256


class Passwords:
    """Bounded: two checks at a time (92 MiB), 256 in the queue."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2")
        self._nobody = HASHER.hash(secrets.token_urlsafe(32))
        self._waiting = 0

    async def matches(self, stored: str | None, password: str) -> bool:
        """Whether the password belongs to the hash; None is nobody's hash, which takes the same time and never matches.

        Raises:
            Problem: 503 when too many wait already.
        """
        if self._waiting >= MAX_WAITING:
            raise unavailable("Too many sign-ins at once.", retry_after=2)
        self._waiting += 1
        try:
            right = await asyncio.get_running_loop().run_in_executor(
                self._pool, _check, stored or self._nobody, password
            )
        finally:
            self._waiting -= 1
        return right and stored is not None

    def stop(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _check(stored: str, password: str) -> bool:
    try:
        return HASHER.verify(stored, password.encode("utf-8", "surrogatepass"))
    except (Argon2Error, InvalidHashError):
        return False
