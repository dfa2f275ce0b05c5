"""The credentials of an account follow in PostgreSQL once its change was accepted in Kafka; a sign-in needs both.

A call that ends in between is repeated with its Idempotency-Key: the change is answered as before, and what had not followed
follows. What had followed does not follow again, or an old call, repeated much later, would undo a person's own password.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.identity.invitations import Invitation, invite, set_password
from gateway.sql import given_passwords
from gateway.sql.sessions import end_sessions, with_sessions
from schemas.reference import User

if TYPE_CHECKING:
    from gateway.services import Services


async def give_password(services: Services, user: User, password: str) -> None:
    """Set the password that came with this version of the account, unless it was set before. Raises Problem 422, 503."""
    given = await given_passwords.version(services.database, user.id)
    if given is not None and given >= user.version:
        return
    await set_password(services, user, password)


async def invite_new(services: Services, user: User) -> Invitation | None:
    """A token for the first password of somebody who has none; None for somebody who has one. Raises Problem 503."""
    if await given_passwords.version(services.database, user.id) is not None:
        return None
    return await invite(services, user.id)


async def end_sessions_of_inactive(services: Services, user_id: str) -> None:
    """End the sessions of an account that is inactive now, so that none lives on when it is active again. Raises Problem 503.

    An old call that is repeated after its owner came back ends nothing.
    """
    if not services.catalog.users[user_id].active:
        services.revocations.note(*await end_sessions(services.database, user_id))


async def end_sessions_of_all_inactive(services: Services, user_ids: Sequence[str]) -> None:
    """`end_sessions_of_inactive` for many. Raises Problem 503."""
    users = services.catalog.users
    inactive = [user_id for user_id in user_ids if user_id in users and not users[user_id].active]
    for user_id in await with_sessions(services.database, inactive) if inactive else ():
        await end_sessions_of_inactive(services, user_id)
