"""The short form: nobody, and somebody who may call everything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest

from tests import stack as stacks
from tests.client import Api
from tests.fuzz import fuzz, ground

pytestmark = [pytest.mark.xdist_group("fuzz"), pytest.mark.timeout(600)]


class Ground:
    def __init__(self, stack: stacks.Stack) -> None:
        self.stack = stack
        self.api = Api(stack.gateway)
        self.ids: Mapping[str, Sequence[str]] = ground.prepare(stack, self.api)

    def token(self, who: str) -> str:
        """One of a session of its own."""
        return str(self.api.login(who).json()["access_token"])


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Ground]:
    """A stack of its own: what the fuzz does to people and requests would trouble others."""
    with stacks.own(ATHENA_RATE_LIMITS="off") as own:
        yield Ground(own)


@pytest.mark.parametrize(("who", "examples", "least"), [(None, 3, 200), (ground.EVERYBODY, 6, 800)])
def test_the_api_keeps_to_its_document(fuzzed: Ground, who: str | None, examples: int, least: int) -> None:
    """Strangers' programs would meet errors, statuses and shapes that nobody told them about, or get in without a token."""
    token = None if who is None else fuzzed.token(who)
    found = fuzz.run(fuzzed.stack.gateway, token, fuzzed.ids, examples=examples, seed=1)
    assert found.ok, found.text
    assert found.cases >= least, found.text


@pytest.mark.parametrize("path", sorted(fuzz.ENDS_THE_SESSION))
def test_what_ends_the_session_keeps_to_it_too(fuzzed: Ground, path: str) -> None:
    """The calls left out above would be tried by nobody."""
    found = fuzz.run(fuzzed.stack.gateway, fuzzed.token("sue.sales"), fuzzed.ids, examples=5, seed=1, only=path)
    assert found.ok, found.text
