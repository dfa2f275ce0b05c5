"""Wrong sign-ins in bulk on a real gateway; the long form is `python -m tests.faults.wrong_logins`."""

from __future__ import annotations

import asyncio
import statistics
import time

import httpx
import pytest

from gateway.identity.pace import ACCOUNT, LONGEST_WAIT, PLACE
from tests.client import API, Api
from tests.faults.wrong_logins import run

pytestmark = pytest.mark.xdist_group("identity")

ATTEMPTS, ADDRESSES = 400, 100
#: Sign-ins of each kind whose time is compared: as many as are not slowed.
COMPARED = ACCOUNT.free


def test_strangers_in_bulk_do_not_keep_the_owner_out(gateways: tuple[Api, Api]) -> None:
    """Otherwise anybody with a list of addresses could keep an approver from signing in, or guess their password."""
    phases = asyncio.run(run(gateways[0].base, ATTEMPTS, ADDRESSES))
    for phase in phases:
        assert phase.held, phase.document()
        assert phase.answers[429] > 0, phase.document()
        # What strangers may, and what one may who knows the owner's device id and address.
        most = ACCOUNT.free + 2 * PLACE.free + (phase.seconds + LONGEST_WAIT) * (1 / ACCOUNT.step + 2 / PLACE.step)
        assert max(phase.checked.values()) <= most, phase.document()


def test_a_wrong_sign_in_takes_as_long_for_an_account_that_does_not_exist(gateways: tuple[Api, Api]) -> None:
    """Otherwise a stranger could find out with a clock who works here."""
    seconds: dict[str, list[float]] = {"sam.sales": [], "nobody.here": []}
    for number in range(COMPARED):
        for turn, (who, found) in enumerate(seconds.items()):
            transport = httpx.HTTPTransport(local_address=f"127.3.{turn}.{number + 1}")
            with httpx.Client(base_url=gateways[number % 2].base, transport=transport, timeout=40) as client:
                client.get("/livez")
                body = {"email": f"{who}@athena.test", "password": "not the right one"}
                started = time.perf_counter()
                answer = client.post(f"{API}/auth/login", json=body)
                found.append(time.perf_counter() - started)
                assert answer.status_code == 401, answer.text
    fastest = [statistics.median(sorted(found)[: COMPARED // 2]) for found in seconds.values()]
    assert 0.6 < fastest[0] / fastest[1] < 1.7, fastest
