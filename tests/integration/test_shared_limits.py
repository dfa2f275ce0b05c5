"""Two gateways that share their rate limits by way of a real Redis, and what becomes of the limits when it is away."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from ops.stack.ports import is_free
from tests import gateways, shapes
from tests import stack as stacks
from tests.batches import item
from tests.client import Api
from tests.gateways import Gateway
from tests.stack import wait_until

pytestmark = pytest.mark.xdist_group("shared-limits")

BURST = 20
#: How long the gateways wait for Redis, in seconds: more than usual, since a busy machine must not look like a Redis that is away.
WAIT = 1.0
PASSWORD = "redis-password-of-a-test"
MISSING = "redis-server is not on this machine: run make test, or install it (Debian: apt-get install redis-server)"


@dataclass
class Redis:
    """A Redis of this test's own; it keeps nothing."""

    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("redis-server")
        assert program, MISSING
        settings = f'port {self.port}\nbind 127.0.0.1\nrequirepass {PASSWORD}\nsave ""\nappendonly no\nlogfile ""\n'
        self.process = subprocess.Popen([program, "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert self.process.stdin is not None
        self.process.stdin.write(settings.encode())
        self.process.stdin.close()
        wait_until(lambda: not is_free(self.port), 20, "Redis does not listen")

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def stop(self) -> None:
        if self.process is not None:
            self.signal(signal.SIGKILL)
            self.process.wait(10)
            self.process = None


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    found = Redis(stacks.free_port())
    found.start()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def pair(stack: stacks.Stack, redis: Redis) -> Iterator[tuple[Gateway, Gateway]]:
    settings = {
        "ATHENA_REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{redis.port}/0",
        "ATHENA_REDIS_SECONDS": str(WAIT),
        "ATHENA_RATE_USER": "1",
        "ATHENA_RATE_USER_BURST": str(BURST),
    }
    with gateways.started(stack, **settings) as one, gateways.started(stack, **settings) as other:
        yield one, other


def calls(gateway: Gateway, api: Api, who: str, count: int) -> list[httpx.Response]:
    headers = {"Authorization": f"Bearer {api.token(who)}"}
    with httpx.Client(base_url=gateway.base, headers=headers, timeout=20) as client:
        return [client.get("/api/v1/users/me") for _ in range(count)]


def passed(answers: list[httpx.Response]) -> int:
    assert {answer.status_code for answer in answers} <= {200, 429}
    return sum(answer.status_code == 200 for answer in answers)


def shares(gateway: Gateway) -> bool:
    return gateway.figure("athena_gateway_shared_limits") == 1


def test_two_gateways_share_one_limit(pair: tuple[Gateway, Gateway], api: Api) -> None:
    """Otherwise every gateway that is added would raise everybody's limit."""
    one, other = pair
    began = time.monotonic()
    first = calls(one, api, "sue.sales", BURST - 5)
    second = calls(other, api, "sue.sales", BURST - 5)
    refused = calls(one, api, "sue.sales", 3)
    assert time.monotonic() - began < BURST, "too slow to tell"
    assert passed(first) == BURST - 5
    assert passed(second) == 5
    assert passed(refused) == 0, "although its own bucket would let them pass"
    for answer in (second[-1], refused[0]):
        problem = shapes.refused(answer, 429, "rate-limited")
        assert "per user" in problem["detail"]
        assert answer.headers["ratelimit-limit"] == str(BURST)
        assert answer.headers["ratelimit-remaining"] == "0"
        assert 1 <= int(answer.headers["retry-after"]) <= 2 * BURST
    assert passed(calls(other, api, "ana.sales", 1)) == 1


def test_a_batch_counts_like_its_items_on_all_gateways(pair: tuple[Gateway, Gateway], api: Api) -> None:
    """Otherwise batches would carry past the limit what single calls may not."""
    one, other = pair
    body = {"client_id": "c", "items": [item("approve") for _ in range(BURST - 5)]}
    headers = {"Authorization": f"Bearer {api.token('l1.apac')}"}
    began = time.monotonic()
    answer = httpx.post(f"{one.base}/api/v1/approvals/sync", json=body, headers=headers, timeout=40)
    shapes.answer(answer, 200, shapes.batch)
    found = calls(other, api, "l1.apac", BURST)
    assert 5 <= passed(found) <= 6 + (time.monotonic() - began)


def test_two_gateways_share_the_rate_of_known_devices(stack: stacks.Stack, redis: Redis) -> None:
    """Otherwise every gateway that is added would raise what a stock of cookies is worth."""
    settings = {
        "ATHENA_REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{redis.port}/0",
        "ATHENA_REDIS_SECONDS": str(WAIT),
        "ATHENA_RATE_ADDRESS": "1",
        "ATHENA_RATE_ADDRESS_BURST": str(BURST),
        "ATHENA_RATE_DEVICE": "1",
        "ATHENA_RATE_DEVICE_BURST": str(BURST),
    }
    body = {"email": "sue.sales@athena.test", "password": "athena-demo-2026"}
    office = httpx.HTTPTransport(local_address="127.6.0.1")
    with gateways.started(stack, **settings) as one, gateways.started(stack, **settings) as other:
        cookie = httpx.post(f"{one.base}/api/v1/auth/login", json=body, timeout=40).cookies["athena-device"]
        headers = {"Cookie": f"athena-device={cookie}"}
        with httpx.Client(transport=office, headers=headers, timeout=40) as client:

            def answered(gateway: Gateway, path: str, count: int) -> list[int]:
                """Statuses of calls whose body is no sign-in, so that the limits at the edge alone count."""
                return [client.post(f"{gateway.base}/api/v1{path}").status_code for _ in range(count)]

            began = time.monotonic()
            answered(one, "/auth/refresh", BURST)
            assert 429 in answered(other, "/auth/refresh", 5), "the address has its own at the other gateway"
            first = answered(one, "/auth/login", BURST - 5)
            second = answered(other, "/auth/login", 2 * BURST)
            seconds = time.monotonic() - began
    assert seconds < 5, "too slow to tell"
    assert 429 not in first
    passed_on = len(second) - second.count(429)
    # What has come in meanwhile, by the cookie's rate and by the address's.
    assert 5 <= passed_on <= 5 + 2 * (1 + seconds), seconds


def test_a_redis_that_is_gone_costs_neither_calls_nor_all_limits(
    pair: tuple[Gateway, Gateway], redis: Redis, api: Api
) -> None:
    """Otherwise the gateway would fall with Redis, or nobody would be limited while it is away."""
    one, other = pair
    assert passed(calls(one, api, "l2", 1)) == 1
    assert shares(one)
    redis.stop()
    try:
        for gateway in pair:
            began = time.monotonic()
            found = passed(calls(gateway, api, "l3", BURST + 10))
            assert BURST <= found <= BURST + 1 + (time.monotonic() - began), "each gateway's own bucket holds"
            assert not shares(gateway)
            assert gateway.figure("athena_gateway_shared_limits_failures_total") >= 1
            text = gateway.log.read_text()
            assert text.count("Redis does not answer in time") == 1, "said once, not with each call"
            assert PASSWORD not in text
    finally:
        redis.start()
    for gateway in pair:
        wait_until(lambda it=gateway: calls(it, api, "l2b", 1) and shares(it), 20, "not shared again")  # type: ignore[misc]
    assert "Redis answers again" in one.log.read_text()
    assert passed(calls(one, api, "l1.hq", 15)) + passed(calls(other, api, "l1.hq", 15)) == BURST


def test_a_redis_that_hangs_is_not_waited_for(pair: tuple[Gateway, Gateway], redis: Redis, api: Api) -> None:
    """Otherwise a slow Redis would make every call slow."""
    one, _ = pair
    api.token("auditor")
    redis.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert passed(calls(one, api, "auditor", 15)) == 15
        assert time.monotonic() - began < 15 * WAIT, "a wait for each call"
        failures = one.figure("athena_gateway_shared_limits_failures_total")
        assert passed(calls(one, api, "admin", 15)) == 15
        assert one.figure("athena_gateway_shared_limits_failures_total") - failures < 10, "it is not asked in each call"
    finally:
        redis.signal(signal.SIGCONT)
    wait_until(lambda: calls(one, api, "l1b.emea", 1) and shares(one), 20, "not shared again")
