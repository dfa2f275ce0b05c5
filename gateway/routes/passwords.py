"""Changing the password, and setting the first one."""

from __future__ import annotations

from gateway.http.access import ANYONE, SIGNED_IN
from gateway.http.answers import NO_CONTENT, Answer
from gateway.http.bodies import read_body
from gateway.http.call import Call
from gateway.http.describe import Group
from gateway.http.problems import invalid_at
from gateway.identity import invitations
from gateway.models.bodies import FirstPasswordBody, PasswordBody
from gateway.sql import credentials

group = Group("Signing in")


@group.endpoint("POST", "/auth/password", SIGNED_IN, {204: None}, body=PasswordBody)
async def change(call: Call) -> Answer:
    """Change one's own password. All other sessions end. A wrong `current` is slowed like a wrong sign-in."""
    caller, services = call.caller, call.services
    body = await read_body(call, PasswordBody)
    user = caller.user
    if body.new == body.current:
        raise invalid_at("/new", "is the password that you have; choose another one")
    turn = await services.pace.turn(user.email.lower(), call.address, [caller.session_id.encode()], ahead=True)
    known = turn.known
    await services.passwords.accepted(user.id, body.new, user.email, user.name, "/new")
    stored, _ = await credentials.standing(services.database, user.id, ())
    ended = None
    if stored is not None and await services.passwords.matches(user.id, stored, body.current, known=known):
        after = await services.passwords.hash(user.id, body.new, known=known)
        ended = await credentials.change(services.database, user.id, stored, after, caller.session_id)
    if ended is None:
        services.security.note(call, "password-change-failed", user.id, roles=user.roles, code="invalid")
        raise invalid_at("/current", "is not your password")
    services.revocations.note(*ended)
    await services.pace.right(turn)
    await services.security.record(call, "password-changed", user.id, roles=user.roles)
    return NO_CONTENT


@group.endpoint("POST", "/auth/password/first", ANYONE, {204: None}, body=FirstPasswordBody, problems=(401,))
async def first(call: Call) -> Answer:
    """Set the first password by the token of a link that an administrator passed on. It works once."""
    services = call.services
    body = await read_body(call, FirstPasswordBody)
    turn = await services.pace.turn_of_address(call.address)
    user = await invitations.redeem(services, body.token, body.new)
    await services.pace.right(turn)
    await services.security.record(call, "first-password-set", user.id, roles=user.roles)
    return NO_CONTENT
