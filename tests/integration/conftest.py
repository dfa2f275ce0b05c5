"""Fixtures of the integration tests: an API client of the shared stack, and a stack of one's own for tests that change it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import gateways
from tests import stack as stacks
from tests.client import Api


@pytest.fixture(scope="session")
def api(stack: stacks.Stack) -> Api:
    """The shared stack's API. Its organisation and rules stay as they are."""
    return Api(stack.gateway)


@pytest.fixture(scope="session")
def changing() -> Iterator[stacks.Stack]:
    """A stack whose rules, people and processes tests change; for tests of the xdist group `changing` alone."""
    with stacks.own(ATHENA_RATE_LIMITS="off") as own:
        yield own


@pytest.fixture(scope="session")
def changing_api(changing: stacks.Stack) -> Api:
    """The API of `changing`."""
    return Api(changing.gateway)


#: What a client of `edge` may take, in seconds.
SHORT = 1.0


@pytest.fixture(scope="session")
def edge(stack: stacks.Stack) -> Iterator[gateways.Gateway]:
    """A further gateway with short bounds, behind a proxy at 127.0.0.1; for tests of the xdist group `edge` alone.

    Clients at 127.0.0.2 and so on are none of its proxies.
    """
    with gateways.started(
        stack,
        ATHENA_HEAD_SECONDS=str(SHORT),
        ATHENA_BODY_SECONDS=str(SHORT),
        ATHENA_IDLE_SECONDS=str(SHORT),
        ATHENA_ANSWER_SECONDS=str(SHORT),
        ATHENA_CONNECTIONS="40",
        ATHENA_CONNECTIONS_PER_ADDRESS="8",
        ATHENA_TRUSTED_PROXIES="127.0.0.1 10.0.0.0/8",
        ATHENA_CORS_ORIGINS="https://portal.example.com http://localhost:5173",
        ATHENA_RATE_SIGN_IN="1",
        ATHENA_RATE_SIGN_IN_BURST="3",
    ) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def protected() -> Iterator[stacks.Stack]:
    """A stack with certificates on every line; for tests of the xdist group `tls` alone."""
    with stacks.own("--tls", ATHENA_RATE_LIMITS="off") as own:
        yield own
