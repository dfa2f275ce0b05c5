"""One stack with two gateways for all tests of this folder, which change people and their sessions. Group: `identity`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from tests import stack as stacks
from tests.client import Api
from tests.gateways import started
from tests.organisation import person


@pytest.fixture(scope="session")
def house() -> Iterator[stacks.Stack]:
    """The stack."""
    with stacks.own(ATHENA_RATE_LIMITS="off") as own:
        yield own


@pytest.fixture(scope="session")
def gateways(house: stacks.Stack) -> Iterator[tuple[Api, Api]]:
    """Its two gateways."""
    with started(house, ATHENA_RATE_LIMITS="off") as other:
        yield Api(house.gateway), Api(other.base)


@pytest.fixture
def somebody(house: stacks.Stack, gateways: tuple[Api, Api]) -> Callable[..., str]:
    """Makes a new account with the demo's password; returns its id."""

    def make(*roles: str) -> str:
        id_ = f"p-{uuid.uuid4().hex[:12]}"
        person(house, gateways[0], id_, roles or ("sales",), "emea-sales")
        return id_

    return make
