"""Secrets in files, and that a process takes a new one over."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from ops.redaction import redact
from ops.secrets import secret as secrets
from ops.secrets.postgres import check_url
from ops.secrets.process import Secrets
from ops.secrets.process import watch as watch_together
from ops.secrets.secret import BadSecret, Secret
from ops.secrets.sources import MOST_BYTES, FileSource
from ops.settings import Settings, load_settings


def check(text: str) -> None:
    if not text.startswith("good"):
        raise BadSecret("it does not begin as it should")


def watched(path: Path, text: str) -> Secret:
    """The secret in that file, read once as at a start."""
    path.write_text(text)
    source = FileSource("ATHENA_TOKEN_KEYS_FILE", path)
    found = source.read()
    assert found is not None
    return Secret("token_keys", found, source, check)


def stale() -> float | None:
    return REGISTRY.get_sample_value("athena_secret_stale", {"name": "token_keys"})


def look(secret: Secret) -> bool:
    return asyncio.run(secret.look())


def replaced(path: Path, text: str) -> None:
    new = path.with_name("new")
    new.write_text(text)
    new.replace(path)


def written_over(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.mark.parametrize("write", [replaced, written_over])
def test_a_file_that_was_changed_is_taken_over(tmp_path: Path, write: Callable[[Path, str], None]) -> None:
    """A rotated secret would need a restart of every process."""
    secret = watched(tmp_path / "s", "good-1\n")
    told: list[str] = []
    secret.subscribe(told.append)
    assert not look(secret)
    write(tmp_path / "s", "good-2\n")
    assert look(secret)
    assert (secret.current(), secret.texts(), told) == ("good-2", ("good-2", "good-1"), ["good-2"])
    assert not look(secret)


def test_a_mounted_secret_is_swapped_behind_its_link(tmp_path: Path) -> None:
    """Kubernetes replaces the folder that a link points to, not the file."""
    for number in (1, 2):
        (tmp_path / f"..v{number}").mkdir()
        (tmp_path / f"..v{number}" / "key").write_text(f"good-{number}")
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "key").symlink_to("..data/key")
    source = FileSource("ATHENA_TOKEN_KEYS_FILE", tmp_path / "key")
    secret = Secret("token_keys", source.read() or "", source, check)
    (tmp_path / "next").symlink_to("..v2")
    (tmp_path / "next").replace(tmp_path / "..data")
    assert look(secret)
    assert secret.current() == "good-2"


@pytest.mark.parametrize("bad", ["very-bad-value", "", "good" + "x" * MOST_BYTES, "\udcff"])
def test_a_bad_value_is_reported_and_the_former_one_stays(tmp_path: Path, bad: str) -> None:
    """A slip of an operator would stop the product, or write a secret into the log."""
    secret = watched(tmp_path / "s", "good-1")
    (tmp_path / "s").write_bytes(bad.encode("utf-8", "surrogateescape"))
    with capture_logs() as lines:
        assert not any(look(secret) for _ in range(3))
    assert secret.current() == "good-1"
    assert stale() == 1
    assert len(lines) == 1
    assert not bad or bad not in str(lines)
    (tmp_path / "s").write_text("good-1")
    look(secret)
    assert stale() == 0


def test_a_file_that_is_gone_for_a_moment_changes_nothing(tmp_path: Path) -> None:
    """A secret store that rewrites its mount would take the process down."""
    secret = watched(tmp_path / "s", "good-1")
    (tmp_path / "s").rename(tmp_path / "away")
    assert not look(secret)
    assert (secret.current(), stale()) == ("good-1", 1)
    (tmp_path / "away").rename(tmp_path / "s")
    assert not look(secret)
    assert stale() == 0


@pytest.mark.parametrize("times", [1, 1000])
def test_half_of_a_file_that_is_being_written_is_never_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Every token would be refused by a key that is only the beginning of the new one."""
    secret = watched(tmp_path / "s", "good-1")
    real, calls = os.fstat, iter(range(1_000_000))

    def fstat(descriptor: int) -> os.stat_result:
        # Each second look at a file is the one after it was read.
        if (call := next(calls)) % 2 and call < 2 * times:
            with (tmp_path / "s").open("a") as file:
                file.write("-more")
        return real(descriptor)

    written_over(tmp_path / "s", "good-2")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", fstat)
        assert look(secret) is (times == 1)
    assert secret.current() == ("good-2-more" if times == 1 else "good-1")
    assert stale() == (times != 1)
    assert look(secret) is (times != 1)
    assert secret.current() == (tmp_path / "s").read_text()


def test_a_part_that_fails_on_a_new_secret_does_not_keep_it_from_the_others(tmp_path: Path) -> None:
    """One mistake of ours would leave a process with two different secrets."""
    secret = watched(tmp_path / "s", "good-1")
    told: list[str] = []

    def fails(_text: str) -> None:
        raise RuntimeError("good-2 is in this text")

    secret.subscribe(fails)
    secret.subscribe(told.append)
    replaced(tmp_path / "s", "good-2")
    with capture_logs() as lines:
        assert look(secret)
    assert told == ["good-2"]
    assert "good-2" not in str(lines)


def test_a_source_that_cannot_be_read_may_differ(tmp_path: Path) -> None:
    """Nobody would be told that a secret's file is gone, or that it is back."""
    secret = watched(tmp_path / "s", "good-1")
    assert not secret.may_differ()
    (tmp_path / "s").unlink()
    assert secret.may_differ()
    assert not look(secret)
    written_over(tmp_path / "s", "good-1")
    assert secret.may_differ()
    assert not look(secret)
    assert not secret.may_differ()
    assert not Secret("cursor_key", "k").may_differ()


def test_the_watch_sees_a_change_within_seconds(tmp_path: Path) -> None:
    """A leaked key would go on being good after it was retired."""

    async def watch() -> None:
        secret = watched(tmp_path / "s", "good-1")
        seen = asyncio.Event()
        secret.subscribe(lambda _text: seen.set())
        watching = asyncio.create_task(watch_together([secret], 0.2))
        replaced(tmp_path / "s", "good-2")
        async with asyncio.timeout(10):
            await seen.wait()
        watching.cancel()

    asyncio.run(watch())


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("postgresql://a:very-secret@127.0.0.1:5432/athena", True),
        ("postgres://athena@/athena?host=/run/postgresql", True),
        ("very-secret", False),
        ("", False),
        ("http://a:very-secret@127.0.0.1/", False),
        ("postgresql://a:very-secret@127.0.0.1:port/athena", False),
        ("postgresql://a:very-secret@[::1/athena", False),
    ],
)
def test_an_address_of_the_database_is_looked_at_before_it_is_used(text: str, good: bool) -> None:
    """The driver's error would write the password into the log, and no new connection could be made."""
    if good:
        check_url(text)
        return
    with pytest.raises(BadSecret) as error:
        check_url(text)
    assert "very-secret" not in str(error.value)


class CountingSource:
    """Says how often it was asked."""

    every = 60.0

    def __init__(self) -> None:
        self.reads = 0

    def read(self) -> str:
        self.reads += 1
        return f"good-{self.reads}"


def run(scene: Callable[[Secret, CountingSource], Coroutine[Any, Any, None]]) -> None:
    source = CountingSource()
    asyncio.run(scene(Secret("token_keys", "good-0", source, check), source))


def test_strangers_cannot_have_a_secret_fetched_more_than_once_in_a_while() -> None:
    """Tokens with made-up key ids would send a call each to the secret store."""

    async def scene(secret: Secret, source: CountingSource) -> None:
        assert all(await asyncio.gather(*(secret.refetch() for _ in range(50))))
        assert not any([await secret.refetch() for _ in range(50)])
        assert source.reads == 1

    run(scene)


def test_after_a_while_it_is_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that missed a rotation would refuse good tokens until its next look."""
    monkeypatch.setattr(secrets, "REFETCH_SECONDS", 0.0)

    async def scene(secret: Secret, _source: CountingSource) -> None:
        assert [await secret.refetch() for _ in range(2)] == [True, True]

    run(scene)


def test_a_secret_does_not_show_itself() -> None:
    """It would be in the first traceback."""
    secret = Secret("token_keys", "very-secret")
    assert "very-secret" not in f"{secret!r} {secret} {vars(secret).keys()}"


def test_former_keys_still_verify_for_an_hour_and_not_longer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """People would be thrown out of their lists by each rotation, or an old key would be good for ever."""
    secret = watched(tmp_path / "s", "good-a good-b")
    assert secret.signing_keys() == ("good-a", "good-b")
    replaced(tmp_path / "s", "good-c\ngood-a")
    look(secret)
    assert secret.signing_keys() == ("good-c", "good-a", "good-a", "good-b")
    monkeypatch.setattr(secrets, "KEY_OVERLAP", 0.0)
    assert secret.signing_keys() == ("good-c", "good-a")


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ATHENA_")]:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("clean")
def test_a_process_without_a_secret_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It would run with an empty key that everybody knows."""
    with pytest.raises(SystemExit, match="ATHENA_CURSOR_KEY_AWS"):
        Secrets(Settings()).take("cursor_key", least=32)
    (tmp_path / "key").write_text("k" * 40)
    monkeypatch.setenv("ATHENA_CURSOR_KEY_FILE", str(tmp_path / "key"))
    assert Secrets(load_settings()).take("cursor_key", least=32).current() == "k" * 40
    monkeypatch.setenv("ATHENA_CURSOR_KEY_AWS", "athena")
    with pytest.raises(SystemExit, match="both set"):
        load_settings()


@pytest.mark.usefixtures("clean")
def test_a_secret_that_came_later_is_cut_out_of_logs_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A driver's error would show the new password, where the one of the start is cut out; or one that was refused."""
    monkeypatch.setenv("ATHENA_DATABASE_URL_FILE", str(tmp_path / "url"))
    (tmp_path / "url").write_text("postgresql://athena:before-the-change@127.0.0.1/athena")
    secret = Secrets(load_settings()).take("database_url", check_url)
    for text in ("postgresql://athena:after-the-change@127.0.0.1/athena", "athena:never-taken-over@127.0.0.1"):
        (tmp_path / "url").write_text(text)
        look(secret)
    assert secret.current() == "postgresql://athena:after-the-change@127.0.0.1/athena"
    line = redact("no login with after-the-change, nor with athena:never-taken-over@127.0.0.1")
    assert "after-the-change" not in line
    assert "never-taken-over" not in line


@pytest.mark.usefixtures("clean")
def test_a_value_that_cannot_be_used_at_the_start_is_named_and_not_shown() -> None:
    """The log of a start that failed would hold a secret."""
    with pytest.raises(SystemExit) as error:
        Secrets(Settings(token_keys="very-secret")).take("token_keys", check)
    assert str(error.value) == "ATHENA_TOKEN_KEYS: it does not begin as it should."
