"""Sessions and refresh tokens on the real database: how many there may be, how they are removed, who hears of their end."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from datetime import UTC, datetime, timedelta

from gateway.sql import sessions
from gateway.sql.database import Database
from gateway.sql.sessions import LIVING, RENEWALS, Opening, Presented
from tests.as_gateway import as_gateway
from tests.stack import Stack

_LIVING = "SELECT count(*) FROM identity.sessions WHERE user_id = $1 AND revoked_at IS NULL"
_HAS = "SELECT count(*) FROM identity.sessions WHERE user_id = $1"
_ENDED = """
INSERT INTO identity.sessions (id, user_id, expires_at, revoked_at)
SELECT gen_random_uuid(), $1, now() + interval '1 day', now() - $2::interval FROM generate_series(1, $3::int)
RETURNING id::text"""


def nobody() -> str:
    return f"test-{uuid.uuid4()}"


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def opening(who: str, token: str | None = None) -> Opening:
    return Opening(
        user_id=who,
        expires_at=datetime.now(UTC) + timedelta(days=30),
        token_hash=digest(token or str(uuid.uuid4())),
        device_id=None,
        source_address="192.0.2.1",
        user_agent=None,
        jkt=None,
        places=(),
        password_hash=None,
    )


def shown(token: str, successor: str) -> Presented:
    return Presented(digest(token), [digest(successor)], device="phone", device_id=None, jkt=None)


def test_an_account_has_a_bounded_number_of_sessions_and_the_newest_live(stack: Stack) -> None:
    """Whoever knew a password could open so many sessions that its owner could never end them by changing it."""

    async def test(database: Database) -> None:
        who, other = nobody(), nobody()
        foreign = await sessions.insert(database, opening(other))
        assert foreign is not None
        opened = [str(await sessions.insert(database, opening(who))) for _ in range(LIVING + 20)]
        assert await database.value(_LIVING, who) == LIVING
        assert not await sessions.is_alive(database, opened[19])
        assert [await sessions.is_alive(database, id_) for id_ in (opened[20], opened[-1], foreign)] == [True] * 3
        assert len(await sessions.end_sessions(database, who)) == LIVING

    as_gateway(stack, test)


def test_ended_sessions_do_not_slow_the_search_for_living_ones(stack: Stack) -> None:
    """Whoever opened sessions all day could make each sign-in of the owner slow, and at last impossible."""

    async def test(database: Database) -> None:
        who = nobody()
        await database.rows(_ENDED, who, timedelta(hours=1), 20_000)
        await sessions.insert(database, opening(who))
        for statement in (sessions._TRIM, sessions._END_ALL):
            values = [f"'{who}'", "NULL"]
            text = statement.replace("$1", values[0]).replace("$2", values[1])
            async with database.connection() as connection, connection.transaction():
                plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS OFF) {text}"))
            assert "sessions_living" in plan, plan
        await sessions.end_sessions(database, who)

    as_gateway(stack, test)


def test_a_session_can_be_renewed_so_often_and_not_for_ever(stack: Stack) -> None:
    """A client in a loop could fill the disk with used refresh tokens, none of which may be forgotten while its session lives."""

    async def test(database: Database) -> None:
        who = nobody()
        id_ = await sessions.insert(database, opening(who, "token 0"))
        for number in range(3):
            found = await sessions.use(database, shown(f"token {number}", f"token {number + 1}"), 0.0)
            assert found is not None
            assert not found.reused
        await database.value("UPDATE identity.sessions SET renewals = $2 WHERE id = $1::uuid", id_, RENEWALS)
        assert await sessions.use(database, shown("token 3", "token 4"), 0.0) is None
        assert await sessions.is_alive(database, str(id_)), "access tokens of now are still good"

    as_gateway(stack, test)


def test_an_end_that_was_committed_late_is_heard_of(stack: Stack) -> None:
    """A session that was ended while the database was slow would live on at the other gateways."""

    async def test(database: Database) -> None:
        who = nobody()
        now = await database.value("SELECT now()")
        (row,) = await database.rows(_ENDED, who, timedelta(seconds=70), 1)
        assert row[0] in dict(await sessions.revoked_since(database, now, 600.0))

    as_gateway(stack, test)


def test_any_backlog_of_ended_sessions_is_removed_in_small_steps(stack: Stack) -> None:
    """After a day of many sign-ins the cleaning would take too long each time, and the table would grow for ever."""

    async def test(database: Database) -> None:
        who = nobody()
        await database.rows(_ENDED, who, timedelta(days=2), 3 * sessions.FORGET_AT_ONCE + 1)
        await database.rows(_ENDED, who, timedelta(hours=2), 1)
        await sessions.forget_old(database)
        assert await database.value(_HAS, who) == 1

    as_gateway(stack, test)


def test_a_refresh_token_that_is_shown_while_its_session_is_removed_is_refused(stack: Stack) -> None:
    """Each would wait for the other, and the cleaning would stop until the gateway is started again."""

    async def test(database: Database) -> None:
        who = nobody()
        id_ = await sessions.insert(database, opening(who, f"{who} 0"))
        # The token's row is taken first by whoever locks in the wrong order.
        async with database.connection() as removing:
            transaction = removing.transaction()
            await transaction.start()
            await removing.execute("SELECT FROM identity.sessions WHERE id = $1::uuid FOR UPDATE", id_)
            use = asyncio.create_task(sessions.use(database, shown(f"{who} 0", f"{who} 1"), 0.0))
            await asyncio.sleep(0.5)
            await removing.execute("DELETE FROM identity.sessions WHERE id = $1::uuid", id_)
            await transaction.commit()
        assert await use is None

    as_gateway(stack, test)
