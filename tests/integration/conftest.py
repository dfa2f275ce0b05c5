"""Fixtures of the integration tests: an API client of the shared stack, and a stack of one's own for tests that change it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
