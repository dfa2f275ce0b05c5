"""Slowed sign-ins on the real database: a stranger must not take an account from its owner, nor guess at full speed."""

from __future__ import annotations

import asyncio
import time
import uuid

from gateway.http.problems import Problem
from gateway.identity.pace import ACCOUNT, ADDRESS, LONGEST_WAIT, PLACE, Pace, Turn
from gateway.sql.database import Database
from tests.as_gateway import as_gateway
from tests.stack import Stack

PHONE = b"the owner's phone"
HERE = "192.0.2.1"


def account() -> str:
    return f"{uuid.uuid4()}@athena.test"


def address() -> str:
    return f"test-{uuid.uuid4()}"


async def get(pace: Pace, who: str, where: str, *places: bytes) -> Turn | None:
    """A turn, None when the attempt was sent away."""
    try:
        return await pace.turn(who, where, places, ahead=False)
    except Problem as problem:
        assert problem.status == 429
        assert int(dict(problem.headers)[b"retry-after"]) >= 1
        return None


async def guess(pace: Pace, who: str, where: str) -> Turn | None:
    """A turn at an address that the account knows, None when the attempt was sent away."""
    try:
        return await pace.turn(who, where, (), [where.encode()], ahead=False)
    except Problem as problem:
        assert problem.status == 429
        return None


def test_guesses_at_once_from_everywhere_and_through_two_gateways_get_no_more_turns_than_one(stack: Stack) -> None:
    """Otherwise a thousand guesses at once, or as many addresses or gateways, would make guessing fast."""

    async def test(found: Database) -> None:
        gateways, victim = [Pace(found), Pace(found)], account()
        guesses = [get(gateways[number % 2], victim, address()) for number in range(200)]
        started = time.monotonic()
        turns = [turn for turn in await asyncio.gather(*guesses) if turn is not None]
        assert all(not turn.known for turn in turns)
        passed = time.monotonic() - started
        assert ACCOUNT.free <= len(turns) <= ACCOUNT.free + (LONGEST_WAIT + passed) / ACCOUNT.step

    as_gateway(stack, test)


def test_strangers_do_not_slow_the_owners_device_and_it_has_a_limit_of_its_own(stack: Stack) -> None:
    """Otherwise anybody could keep a colleague from signing in, or a stolen phone could guess at full speed."""

    async def test(found: Database) -> None:
        pace, victim = Pace(found), account()
        flood = asyncio.gather(*(get(pace, victim, address()) for _ in range(50)))
        await asyncio.sleep(0.5)
        assert await get(pace, victim, address()) is None
        started = time.monotonic()
        for _ in range(PLACE.free):
            turn = await get(pace, victim, HERE, PHONE)
            assert turn is not None
            assert turn.known
        assert time.monotonic() - started < LONGEST_WAIT
        late = await get(pace, victim, HERE, PHONE)
        assert late is None or not late.known, "its turns have no end"
        other = await get(pace, victim, HERE, PHONE, b"its cookie")
        assert other is not None
        assert other.known, "who knows the device id has taken the turns of the cookie too"
        await flood

    as_gateway(stack, test)


def test_an_office_address_that_all_accounts_know_is_slowed_as_one_and_has_no_lane_of_the_owners(stack: Stack) -> None:
    """Otherwise one person in an office could guess thousands of colleagues' passwords, and take the owners' time for it."""

    async def test(found: Database) -> None:
        pace, office = Pace(found), address()
        started = time.monotonic()
        turns = await asyncio.gather(*(guess(pace, account(), office) for _ in range(100)))
        passed = time.monotonic() - started
        got = [turn for turn in turns if turn is not None]
        assert all(not turn.known for turn in got)
        assert ADDRESS.free <= len(got) <= ADDRESS.free + (LONGEST_WAIT + passed) / ADDRESS.step
        owner = await get(pace, account(), office, PHONE)
        assert owner is not None, "the owner's own device waits for the office"
        assert owner.known

    as_gateway(stack, test)


def test_who_says_a_known_device_id_has_turns_of_their_own_beside_a_flood(stack: Stack) -> None:
    """Otherwise a client that keeps no cookie could be kept out by strangers from anywhere."""

    async def test(found: Database) -> None:
        pace, victim = Pace(found), account()
        flood = asyncio.gather(*(get(pace, victim, address()) for _ in range(50)))
        await asyncio.sleep(0.5)
        assert await get(pace, victim, address()) is None
        turn = await guess(pace, victim, HERE)
        assert turn is not None
        await flood

    as_gateway(stack, test)


def test_who_was_right_gets_the_turn_back(stack: Stack) -> None:
    """Otherwise an office behind one address could not sign in in the morning."""

    async def test(found: Database) -> None:
        pace, office = Pace(found), address()
        started = time.monotonic()
        for _ in range(3 * ADDRESS.free):
            turn = await get(pace, account(), office)
            assert turn is not None
            await pace.right(turn)
        assert time.monotonic() - started < ADDRESS.free * ADDRESS.step

    as_gateway(stack, test)


def test_a_crowd_that_is_right_comes_through_one_after_another(stack: Stack) -> None:
    """In the morning a whole office would be told that it had tried too often, and nobody had been wrong."""

    async def test(found: Database) -> None:
        pace, office, same = Pace(found), address(), account()
        thread = asyncio.Lock()  # as passwords of strangers are checked: one at a time

        async def signs_in(who: str) -> bool:
            try:
                async with pace.attempt(who, office, [], ahead=False) as turn:
                    async with thread:
                        await asyncio.sleep(0.07)
                    await pace.right(turn)
            except Problem:
                return False
            return True

        crowd = [account() for _ in range(3 * ADDRESS.free)] + [same] * (2 * ACCOUNT.free)
        assert all(await asyncio.gather(*map(signs_in, crowd)))

    as_gateway(stack, test)


def test_one_address_is_slowed_on_all_accounts_and_the_accounts_are_not(stack: Stack) -> None:
    """Otherwise one machine could try one password on everybody, or by that lock everybody out."""

    async def test(found: Database) -> None:
        pace, attacker = Pace(found), address()
        accounts = [account() for _ in range(100)]
        turns = await asyncio.gather(*(get(pace, one, attacker) for one in accounts))
        assert 0 < turns.count(None) < len(accounts)
        started = time.monotonic()
        others = [await get(pace, one, address()) for one in accounts[-20:]]
        assert None not in others
        assert time.monotonic() - started < LONGEST_WAIT

    as_gateway(stack, test)
