"""A cursor that can be bent would show what another list or user may see, or break a statement."""

from __future__ import annotations

import base64
import string

import pytest

from gateway.http.cursors import Cursors
from gateway.http.problems import Problem
from ops.secrets.secret import Secret

KEY = "k" * 32
POSITION = ["2026-11-22T09:30:00+00:00", "0f8fad5b-d9cb-469f-a165-70867728950e"]


@pytest.fixture
def cursors() -> Cursors:
    return Cursors(Secret("cursor_key", KEY))


def test_a_cursor_is_read_back_and_needs_no_escaping(cursors: Cursors) -> None:
    """Nobody could see a second page."""
    cursor = cursors.write("sam list", POSITION)
    assert set(cursor) <= set(string.ascii_letters + string.digits + "-_")
    assert cursors.read("sam list", cursor, 2) == POSITION
    assert Cursors(Secret("cursor_key", KEY)).read("sam list", cursor, 2) == POSITION


@pytest.mark.parametrize("scope", ["sue list", "sam list status=closed", ""])
def test_a_cursor_of_another_list_is_refused(cursors: Cursors, scope: str) -> None:
    """A cursor of one user would work for another."""
    with pytest.raises(Problem) as caught:
        cursors.read(scope, cursors.write("sam list", POSITION), 2)
    assert (caught.value.status, caught.value.errors[0]["pointer"]) == (422, "/query/cursor")


def test_a_cursor_of_another_installation_is_refused(cursors: Cursors) -> None:
    """Whoever runs an installation of their own could write cursors."""
    with pytest.raises(Problem):
        cursors.read("sam list", Cursors(Secret("cursor_key", "x" * 32)).write("sam list", POSITION), 2)


def test_every_bent_cursor_is_refused(cursors: Cursors) -> None:
    """A position could be chosen at will."""
    cursor = cursors.write("sam list", POSITION)
    for at, letter in enumerate(cursor):
        other = "A" if letter != "A" else "B"
        with pytest.raises(Problem):
            cursors.read("sam list", cursor[:at] + other + cursor[at + 1 :], 2)
    for bent in (cursor[:-1], cursor + "A", cursor + "=", cursor + "\n", " " + cursor, cursor[:10] + "!" + cursor[10:]):
        with pytest.raises(Problem):
            cursors.read("sam list", bent, 2)


@pytest.mark.parametrize("cursor", ["", "A", "é", "\x00", "A" * 4000, base64.urlsafe_b64encode(b"x" * 20).decode()])
def test_noise_is_refused(cursors: Cursors, cursor: str) -> None:
    """Noise would be an error of the server."""
    with pytest.raises(Problem):
        cursors.read("sam list", cursor, 2)


def test_a_cursor_of_another_shape_is_refused(cursors: Cursors) -> None:
    """A cursor from before an update would break the statement it goes into."""
    with pytest.raises(Problem):
        cursors.read("sam list", cursors.write("sam list", [1]), 2)


def test_a_sealed_cursor_is_read_back_by_its_scope_alone_and_tells_nothing(cursors: Cursors) -> None:
    """From how far the log is one could see how busy the others are; and a position could be made up."""
    sealed = cursors.seal("sam updates", b"partition 0 at 1234")
    assert cursors.open("sam updates", sealed) == b"partition 0 at 1234"
    assert b"1234" not in base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
    assert cursors.seal("sam updates", b"partition 0 at 1234") != sealed, (
        "that nothing has happened is not to be seen either"
    )
    bent = [sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :] for at in range(len(sealed))]
    others = [Cursors(Secret("cursor_key", "x" * 32)).seal("sam updates", b"x"), cursors.write("sam updates", [1])]
    for wrong in (*bent, *others, "", "A", "\xe9", sealed + "A", sealed[:-1], "A" * 4000):
        with pytest.raises(Problem) as caught:
            cursors.open("sam updates", wrong)
        assert caught.value.status == 422
    with pytest.raises(Problem):
        cursors.open("sue updates", sealed)
