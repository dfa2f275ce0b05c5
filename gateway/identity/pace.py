"""Slows wrong sign-ins, without letting a stranger slow the owner.

Each attempt takes a turn before its password is checked, and gets it back when that was right. From a device that the owner
signed in with before, the turns are those of this account and device; a stranger's are those of the account and of the address.
Who only says the same `device_id`, or sits behind the same address, has turns of this account at this place, and takes one of the
address too. So strangers, however many, use up what is theirs, and never what a known device has. Turns are in PostgreSQL:
all gateways share them. Unknown accounts are slowed like known ones.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass

from gateway import metrics
from gateway.http.addresses import network_of
from gateway.http.problems import Problem
from gateway.limits import rate_limited
from gateway.sql import credentials, turns
from gateway.sql.database import Database
from gateway.turns import Lanes, Shares, Turns

#: The longest that an attempt waits for its turn, in seconds; it is sent away at once if its turn is later than that.
LONGEST_WAIT = 4.0
#: Attempts that wait for their turn in this process; more are sent away.
MAX_WAITING = 500
MAX_CLOSED = 50_000
#: Strangers that ask PostgreSQL at a time, of the ten connections there are; so many more wait for that, two seconds at most.
ASKING = 3
MAX_ASKING = 200
ASKING_SECONDS = 2.0
#: Of one account, ahead of them.
AHEAD_OF_ONE = 2
#: Attempts of one gateway that hold turns at a time, on one account and of one address: half of what is free, so that a crowd
#: with the right passwords comes through one after another, on two gateways too, before it runs out of turns.
AT_ONCE_ACCOUNT = 5
AT_ONCE_ADDRESS = 10
#: How long one waits for that, in seconds: a hundred right passwords take 5 s of the strangers' thread, more on a busy machine.
LONGEST_QUEUE = 10.0


@dataclass(frozen=True, slots=True)
class Rate:
    """`free` attempts at once, then one every `step` seconds."""

    free: int
    step: float


#: Of all strangers together, on one account.
ACCOUNT = Rate(10, 2.0)
#: Of one address, on all accounts, but for devices that they know.
ADDRESS = Rate(20, 0.5)
#: Of one account, at one place that it knows.
PLACE = Rate(10, 30.0)


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that was taken. `known`: of a device that the owner signed in with before, which nobody can imitate."""

    keys: Sequence[bytes]
    steps: Sequence[float]
    known: bool


class Pace:
    """Hands out turns. In this process it remembers which keys have none for now, so that a flood does not reach PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._closed: OrderedDict[bytes, float] = OrderedDict()
        self._waiting = 0
        self._doorway = Turns(ASKING, waiting=MAX_ASKING, seconds=ASKING_SECONDS, what="sign-in")
        self._shares = Shares(AHEAD_OF_ONE)
        self._lanes = Lanes(MAX_WAITING, LONGEST_QUEUE)

    async def standing(self, user_id: str, places: Sequence[bytes], *, ahead: bool) -> tuple[str | None, set[bytes]]:
        """`credentials.standing`, with `ahead` before all strangers. Raises Problem 503."""
        async with self._door(user_id if ahead else None):
            return await credentials.standing(self._database, user_id, places)

    @asynccontextmanager
    async def attempt(
        self, account: str, address: str, strong: Sequence[bytes], weak: Sequence[bytes] = (), *, ahead: bool
    ) -> AsyncIterator[Turn]:
        """A turn, held while the password is checked; call `right` within. Raises Problem as `turn` does."""
        places = [*strong, *weak]
        lanes = [(f"place {account} {places[0].hex()}" if places else f"account {account}", AT_ONCE_ACCOUNT)]
        if not strong:
            lanes.append((f"address {network_of(address)}", AT_ONCE_ADDRESS))
        async with AsyncExitStack() as held:
            try:
                await held.enter_async_context(self._lanes.lane(*lanes))
            except TimeoutError:
                raise _slowed(LONGEST_WAIT) from None
            yield await self.turn(account, address, strong, weak, ahead=ahead)

    async def turn(
        self, account: str, address: str, strong: Sequence[bytes], weak: Sequence[bytes] = (), *, ahead: bool
    ) -> Turn:
        """Wait for a turn at one of the places that the account knows, tried in their order, else for a stranger's.

        `strong` places are those that nobody can imitate; a turn at a `weak` one is one of the address too.

        Raises:
            Problem: 429 when there is none within 4 s; 503.
        """
        for place in strong:
            key = _key("place", account, place.hex())
            turn = await self._take({key: PLACE}, known=True, ahead=account if ahead else None)
            if isinstance(turn, Turn):
                return turn
        of_address = {_key("address", network_of(address)): ADDRESS}
        for place in weak:
            turn = await self._take({_key("place", account, place.hex()): PLACE} | of_address, known=False, ahead=None)
            if isinstance(turn, Turn):
                return turn
        return await self._insist({_key("account", account): ACCOUNT} | of_address)

    async def turn_of_address(self, address: str) -> Turn:
        """A turn for something that names no account. Raises Problem 429, 503."""
        return await self._insist({_key("address", network_of(address)): ADDRESS})

    async def right(self, turn: Turn) -> None:
        """The attempt was right: the turn is given back. Raises Problem 503."""
        await turns.give_back(self._database, turn.keys, turn.steps)

    async def _insist(self, keys: dict[bytes, Rate]) -> Turn:
        turn = await self._take(keys, known=False, ahead=None)
        if isinstance(turn, Turn):
            return turn
        raise _slowed(turn)

    async def _take(self, keys: dict[bytes, Rate], *, known: bool, ahead: str | None) -> Turn | float:
        """A turn, or the seconds until there may be one. Where there is another to be tried, nobody waits."""
        longest = 0.0 if known else LONGEST_WAIT
        now = time.monotonic()
        shut = max(self._closed.get(key, 0.0) for key in keys) - now
        if shut > 0:
            return shut
        free, steps = [rate.free for rate in keys.values()], [rate.step for rate in keys.values()]
        async with self._door(ahead):
            waits = await turns.take(self._database, list(keys), free, steps, longest)
        wait = max(waits)
        if wait > longest:
            self._close({key: now + own - longest for key, own in zip(keys, waits, strict=True) if own > longest})
            return wait - longest
        turn = Turn(list(keys), steps, known)
        if wait > 0:
            if self._waiting >= MAX_WAITING:
                await self.right(turn)
                return wait
            self._waiting += 1
            try:
                await asyncio.sleep(wait)
            finally:
                self._waiting -= 1
        return turn

    @asynccontextmanager
    async def _door(self, ahead: str | None) -> AsyncIterator[None]:
        """To PostgreSQL: at once for the account that is ahead of the strangers, though not often at a time."""
        with nullcontext(False) if ahead is None else self._shares.share(ahead) as passes:
            async with nullcontext() if passes else self._doorway.turn():
                yield

    def _close(self, late: dict[bytes, float]) -> None:
        """No turn on these keys until then."""
        for key, until in late.items():
            self._closed[key] = until
            self._closed.move_to_end(key)
        while len(self._closed) > MAX_CLOSED:
            self._closed.popitem(last=False)


def _slowed(seconds: float) -> Problem:
    metrics.SIGN_INS.labels("slowed").inc()
    return rate_limited("Too many sign-ins at once, or too many that failed. Wait a moment.", seconds, ACCOUNT.free)


def _key(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()
