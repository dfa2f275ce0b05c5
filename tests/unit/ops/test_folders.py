"""What the servers' users may have planted where we write: nobody else's files are changed, read or given away."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ops.stack.errors import StackError
from ops.stack.folders import given, is_ours, ours, put
from ops.stack.identity import Identity, identities

root_alone = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
SERVER, FORMER = Identity("server", 61234, 61234), Identity("former", 61235, 61235)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder and a file of somebody else's."""
    folder = tmp_path / "victim"
    folder.mkdir(mode=0o755)
    (folder / "file").write_text("theirs")
    return folder


def _untouched(victim: Path) -> bool:
    found = victim.stat()
    same = (found.st_uid, stat.S_IMODE(found.st_mode)) == (os.geteuid(), 0o755)
    return same and (victim / "file").read_text() == "theirs" and (victim / "file").stat().st_uid == os.geteuid()


@pytest.mark.parametrize("planted", ["folder", "file", "link to a file"])
def test_what_was_planted_for_a_folder_is_refused(tmp_path: Path, victim: Path, planted: str) -> None:
    """Otherwise code in the database could make the next start give it any folder of the machine."""
    place = tmp_path / "kafka"
    if planted == "file":
        place.write_text("x")
    else:
        place.symlink_to(victim if planted == "folder" else victim / "file")
    for make in (lambda: ours(place), lambda: given(place, SERVER)):
        with pytest.raises(StackError, match="not a folder of the stack"):
            make()
    assert _untouched(victim)
    assert not is_ours(place)


@pytest.mark.parametrize("name", ["server.properties", ".server.properties.partial"])
def test_a_planted_link_is_not_written_through(tmp_path: Path, victim: Path, name: str) -> None:
    """Otherwise the next start would overwrite a file of the machine's, and give it away."""
    place = tmp_path / "server.properties"
    (tmp_path / name).symlink_to(victim / "file")
    put(place, b"ours", SERVER if os.geteuid() == 0 else Identity("self"))
    assert _untouched(victim)
    assert not place.is_symlink()
    assert place.read_bytes() == b"ours"
    assert stat.S_IMODE(place.stat().st_mode) == 0o600


@root_alone
def test_a_folder_in_which_we_write_is_never_a_servers(tmp_path: Path) -> None:
    """Otherwise its user could plant something between two steps of ours."""
    place = tmp_path / "servers"
    place.mkdir()
    os.chown(place, SERVER.uid or 0, SERVER.gid or 0)
    ours(place)
    found = place.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 0, 0o711)
    assert is_ours(place)


@root_alone
def test_a_server_under_a_new_user_finds_its_data_and_gets_nothing_else(tmp_path: Path, victim: Path) -> None:
    """Otherwise a home of a former release would not start, or a link in its data would give the machine away."""
    place = tmp_path / "data"
    given(place, FORMER)
    (place / "log").mkdir()
    (place / "log" / "segment").write_text("records")
    (place / "link").symlink_to(victim)
    (place / "root's").write_text("not the server's")
    for path in (place / "log", place / "log" / "segment", place / "link"):
        os.chown(path, FORMER.uid or 0, FORMER.gid or 0, follow_symlinks=False)
    given(place, SERVER)
    assert {path.name for path in (place, *place.rglob("*")) if path.lstat().st_uid == SERVER.uid} == {
        "data", "log", "segment", "link",
    }  # fmt: skip
    assert _untouched(victim)


@root_alone
def test_the_broker_is_another_user_than_the_database() -> None:
    """Otherwise a superuser of PostgreSQL could read the broker's key, and write history as the broker."""
    users = identities()
    assert users["kafka"].uid != users["postgres"].uid
    assert 0 not in {user.uid for user in users.values()}
