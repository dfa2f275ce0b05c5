"""Wrong sign-ins in bulk: many addresses on one account, then one address on many accounts, while the owners sign in.

    python -m tests.faults.wrong_logins --attempts 10000

The attacker knows the owner's `device_id`, and sends from the addresses 127.1.0.0/16. Exit code 0: each owner got in from
the known device every time within 5 s, and nobody else did. Prints JSON: what became of the attempts, how many passwords were
really checked per second and account, and how long the owners waited.
"""

# ruff: noqa: T201 - a program that prints its findings

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests import stack as stacks
from tests.client import API, PASSWORD

#: What the product promises to the owner, in seconds.
PROMISE = 5.0
AT_ONCE = 100
OWNERS_PAUSE = 0.5
DEVICE = {"device_id": "the owner's phone"}
#: In place of a status: no answer within 30 s.
UNANSWERED = 0
TIME_OUT = aiohttp.ClientTimeout(total=30)


@dataclass
class Phase:
    """One attack: answers by status, seconds of each of the owner's sign-ins before and during it, and those that failed."""

    name: str
    seconds: float = 0.0
    answers: Counter[int] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    before: list[float] = field(default_factory=list)
    owner: list[float] = field(default_factory=list)
    owner_failed: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The figures. `checked`: answered 401, so its password was compared."""
        most = max(self.checked.values(), default=0)
        return {
            "phase": self.name,
            "seconds": round(self.seconds, 1),
            "attempts": sum(self.answers.values()),
            "answers": dict(sorted(self.answers.items())),
            "sent_per_second": round(sum(self.answers.values()) / self.seconds, 1),
            "checked": self.answers[401],
            "checked_per_second": round(self.answers[401] / self.seconds, 2),
            "checked_per_second_of_one_account": round(most / self.seconds, 2),
            "owner_sign_ins": len(self.owner),
            "owner_before_seconds": round(max(self.before), 3),
            "owner_slowest_seconds": round(max(self.owner, default=0.0), 3),
            "owner_failed": self.owner_failed[:5],
        }

    @property
    def held(self) -> bool:
        """Whether the owner got in every time and in time, and no wrong password did."""
        quick = bool(self.owner) and max(self.owner) < PROMISE and not self.owner_failed
        return quick and not set(self.answers) - {401, 429, 503}


class Owner:
    """The owner of an account with a browser that keeps its device cookie."""

    def __init__(self, base: str, who: str, address: str) -> None:
        self._url = f"{base}{API}/auth/login"
        self._body = {"email": f"{who}@athena.test", "password": PASSWORD, **DEVICE}
        self._address = address

    @asynccontextmanager
    async def browser(self) -> AsyncIterator[aiohttp.ClientSession]:
        jar = aiohttp.CookieJar(unsafe=True)  # cookies of an IP address too
        async with session(self._address, jar) as found:
            await self.sign_in(found)
            yield found

    async def keep_signing_in(self, found: aiohttp.ClientSession, phase: Phase) -> None:
        """Until cancelled."""
        while True:
            started = time.monotonic()
            try:
                await self.sign_in(found)
            except (AssertionError, aiohttp.ClientError, TimeoutError) as error:
                phase.owner_failed.append(f"{type(error).__name__}: {error}"[:200])
            phase.owner.append(time.monotonic() - started)
            await asyncio.sleep(OWNERS_PAUSE)

    async def sign_in(self, found: aiohttp.ClientSession) -> float:
        """Seconds that it took."""
        started = time.monotonic()
        async with found.post(self._url, json=self._body) as answer:
            assert answer.status == 200, f"{answer.status} {await answer.text()}"
        return time.monotonic() - started


def session(address: str, jar: aiohttp.abc.AbstractCookieJar | None = None) -> aiohttp.ClientSession:
    """Connections from that address of this machine."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0), limit=AT_ONCE, keepalive_timeout=30)
    cookies = aiohttp.DummyCookieJar() if jar is None else jar  # an empty jar is false
    return aiohttp.ClientSession(connector=connector, cookie_jar=cookies, timeout=TIME_OUT)


def addresses(count: int) -> list[str]:
    """So many of 127.1.0.0/16."""
    return [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(count)]


async def attack(base: str, attempts: int, sources: list[str], accounts: Iterator[str], phase: Phase) -> None:
    """Send wrong passwords, `AT_ONCE` at a time, from the sources in turn."""
    sessions = [session(address) for address in sources]
    work = zip(range(attempts), itertools.cycle(sessions), accounts, strict=False)
    started = time.monotonic()

    async def worker() -> None:
        for number, found, account in work:
            body = {"email": f"{account}@athena.test", "password": f"wrong password {number}", **DEVICE}
            try:
                async with found.post(f"{base}{API}/auth/login", json=body) as answer:
                    status = answer.status
            except TimeoutError:
                status = UNANSWERED
            phase.answers[status] += 1
            phase.checked[account] += status == 401

    try:
        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    finally:
        phase.seconds = time.monotonic() - started
        await asyncio.gather(*(one.close() for one in sessions))


async def run(base: str, attempts: int, many: int) -> list[Phase]:
    """Both attacks, one after the other, against a gateway of the demo organisation."""
    phases = []
    one_account = itertools.repeat("sue.sales")
    all_accounts = itertools.cycle(["ana.sales", *(f"person.{number}" for number in range(many)), "l1.emea", "admin"])
    for name, sources, accounts, owner in (
        ("many addresses, one account", addresses(many), one_account, Owner(base, "sue.sales", "127.2.0.1")),
        # The owner sits behind the attacker's own address.
        ("one address, many accounts", addresses(1), all_accounts, Owner(base, "ana.sales", addresses(1)[0])),
    ):
        phase = Phase(name)
        async with owner.browser() as browser:
            for _ in range(3):
                phase.before.append(await owner.sign_in(browser))
            signing_in = asyncio.create_task(owner.keep_signing_in(browser, phase))
            await attack(base, attempts, sources, accounts, phase)
            signing_in.cancel()
            await asyncio.gather(signing_in, return_exceptions=True)
        phases.append(phase)
    return phases


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attempts", type=int, default=10_000, help="wrong sign-ins of each attack")
    parser.add_argument("--addresses", type=int, default=500, help="of the first attack; accounts of the second")
    options = parser.parse_args()
    with stacks.own() as stack:
        phases = asyncio.run(run(stack.gateway, options.attempts, options.addresses))
    print(json.dumps([phase.document() for phase in phases], indent=1))
    return 0 if all(phase.held for phase in phases) else 1


if __name__ == "__main__":
    sys.exit(main())
