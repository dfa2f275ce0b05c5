"""For operators: alive, ready; and the OpenAPI document."""

from __future__ import annotations

from gateway.http.access import ANYONE
from gateway.http.answers import Answer, json_answer
from gateway.http.call import Call
from gateway.http.describe import Group
from gateway.models import answers

group = Group("Operations", prefix="")
described = Group("Operations")


@group.endpoint("GET", "/livez", ANYONE, {200: answers.Health})
async def livez(_call: Call) -> Answer:
    """The process answers."""
    return json_answer({"status": "ok"})


@group.endpoint("GET", "/readyz", ANYONE, {200: answers.Health, 503: answers.Health})
async def readyz(call: Call) -> Answer:
    """All that calls need can be reached."""
    checks = await call.services.checks()
    ready = all(checks.values())
    return json_answer({"status": "ok" if ready else "not-ready", "checks": checks}, 200 if ready else 503)


@described.endpoint("GET", "/openapi.json", ANYONE, {200: None})
async def openapi(call: Call) -> Answer:
    """This document."""
    return Answer(call.services.openapi)
