"""Every role, endpoint and object: as the tables say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from gateway.http.describe import API
from gateway.routes.table import ENDPOINTS
from tests import stack as stacks
from tests.access_matrix import calls, outcomes
from tests.access_matrix.house import House
from tests.access_matrix.later import PLACES as COMMAND_PLACES
from tests.access_matrix.later import Later
from tests.access_matrix.table import Line, read

pytestmark = pytest.mark.xdist_group("access-matrix")

ENDPOINT_LINES = read("endpoints.txt")
PLACES = sorted({line.what for line in ENDPOINT_LINES})


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """A stack with people and requests of its own: what others do on a shared one would show in the lists."""
    with stacks.own(ATHENA_RATE_LIMITS="off") as own:
        yield House(own)


def test_every_endpoint_is_in_the_table() -> None:
    """A new endpoint could be open to the wrong people, and nobody would have looked."""
    declared = {(each.method, each.path.removeprefix(API)) for each in ENDPOINTS}
    assert declared == {(method, path) for method, path in PLACES}


def test_every_command_is_in_the_table() -> None:
    """A new command could be decided for the wrong people."""
    assert outcomes.kinds() == {(line.what[0], line.object if "Entity" in line.what[0] else "") for line in _commands()}


def _commands() -> list[Line]:
    return read("commands.txt")


@pytest.mark.parametrize("place", PLACES, ids=" ".join)
def test_endpoint(house: House, place: tuple[str, str]) -> None:
    """Somebody would read or decide what is not theirs, or be kept from what is; or learn that something exists."""
    method, path = place
    wrong: list[str] = []
    not_found: dict[str, set[object]] = {}
    for line in (each for each in ENDPOINT_LINES if each.what == place):
        for who, wanted in line.cells.items():
            id_ = "" if line.object == "-" else calls.object_id(house, method, path, line.object)
            body = calls.BODIES.get(f"{method} {path}", lambda: None)()
            token = house.sign_in(who) if path == "/auth/logout" else None
            answer = house.call(
                who,
                method,
                path.replace("{id}", id_).replace("{n}", id_),
                token,
                **{"content" if isinstance(body, bytes) else "json": body},
                params={"requestId": id_} if path == "/audit/verify" else None,
            )
            found = calls.check(str(line), who, wanted, answer)
            if found is not None:
                wrong.append(found)
            if answer.status_code == 404 and line.object != "malformed":
                not_found.setdefault(who, set()).add(calls.fingerprint(answer))
    assert not wrong, "\n".join(wrong)
    told_apart = {who: prints for who, prints in not_found.items() if len(prints) > 1}
    assert not told_apart, f"what exists can be told from what does not: {told_apart}"


@pytest.mark.parametrize("path", sorted({line.what[1] for line in read("lists.txt")}))
def test_list(house: House, path: str) -> None:
    """A list would show somebody else's business, or miss one's own."""
    wrong = []
    lines = [line for line in read("lists.txt") if line.what[1] == path]
    for who in lines[0].cells:
        wanted = {line.object: line.cells[who] for line in lines if line.cells[who] != "-"}
        if not wanted:
            continue
        shown = {item.get("request_id") or item.get("id") for item in house.everything(who, path)}
        for name, expected in wanted.items():
            request = house.decided if name == "decided" else house.standing[name]
            if (request["id"] in shown) != (expected == "yes"):
                wrong.append(f"GET {path} as {who}: {name} should {'' if expected == 'yes' else 'not '}be there")
    assert not wrong, "\n".join(wrong)


def test_whoever_does_not_wait_learns_no_more_and_is_refused_alike(house: House) -> None:
    """A 202 would let somebody in whom the edge keeps out, tell what exists, or show the outcome to somebody else."""
    later = Later(house)
    lines = [line for line in ENDPOINT_LINES if line.what in COMMAND_PLACES]
    promised = [each for line in lines for each in later.send(line)]
    for each in promised:
        later.hear(each)
    assert not later.wrong, "\n".join(later.wrong)
    told_apart = {who: seen for who, seen in later.not_found.items() if len(seen) > 1}
    assert not told_apart, f"what exists can be told from what does not: {told_apart}"
    # The places whose callers always wait: there is more to be done than the command.
    assert COMMAND_PLACES - {each.line.what for each in promised} == {("POST", "/users"), ("DELETE", "/users/{id}")}


def test_commands_past_the_gateway(house: House) -> None:
    """Whoever gets past a gateway, or gets a gateway's rights, could decide on money."""
    wrong = asyncio.run(outcomes.try_all(house, _commands()))
    assert not wrong, "\n".join(wrong)


def test_the_tables_are_as_large_as_we_say() -> None:
    """The figure in the documents would be another."""
    cells = sum(len(line.cells) for name in ("endpoints.txt", "lists.txt", "commands.txt") for line in read(name))
    assert cells >= 1000
