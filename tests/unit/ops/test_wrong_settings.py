"""Settings that contradict each other, or are none: said in one sentence, with the exit code of wrong use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ops.postgres.clients import with_tls
from ops.settings import load_settings
from ops.stack.errors import Misuse
from ops.tls.context import Files
from tests.stack import athena

FILES = Files(Path("ca.pem"), Path("own.pem"), Path("own.pem"))
URL = "postgresql://athena_gateway@db.example.com/athena"


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca", ""])
def test_a_url_does_not_undo_the_protection_of_the_line(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """Otherwise a URL copied from elsewhere would send everything in the clear, or to whoever answers."""
    url = f"{URL}?sslmode={mode}"
    if mode:
        with pytest.raises(Misuse, match="sslmode"):
            with_tls(url, FILES)
    with pytest.raises(Misuse, match="sslmode"):
        with_tls(f"{URL}?sslmode=verify-full&sslmode={mode or 'disable'}", FILES)
    assert with_tls(url, None) == url
    for name in ("CA", "CERT", "KEY"):
        monkeypatch.setenv(f"ATHENA_TLS_{name}", "file.pem")
    monkeypatch.setenv("ATHENA_DATABASE_URL", f"{URL}?sslmode={mode or 'disable'}")
    with pytest.raises(SystemExit, match="sslmode"):
        load_settings()


def test_a_url_that_says_the_same_is_taken() -> None:
    """Otherwise the URLs of endpoints.json could not be given to a process."""
    whole = with_tls(URL, FILES)
    assert with_tls(whole, FILES) == whole
    assert "sslmode=verify-full" in with_tls(f"{URL}?application_name=x", FILES)


@pytest.mark.parametrize(
    ("command", "variable", "value"),
    [
        (("certs",), "ATHENA_CERT_DAYS", "soon"),
        (("certs", "rotate"), "ATHENA_CERT_HOSTS", "https://budget.example.com"),
        (("gateway",), "ATHENA_TLS_CA", "ca.pem"),
        (("worker",), "ATHENA_PARTITIONS", "none"),
        (("gateway",), "ATHENA_TOKEN_KEYS", "[]"),
    ],
)
def test_wrong_settings_have_the_exit_code_of_wrong_use(
    tmp_path: Path, command: tuple[str, ...], variable: str, value: str
) -> None:
    """Otherwise whoever starts processes would try again for ever what can never work."""
    done = athena(*command, **{"ATHENA_HOME": str(tmp_path / "home"), variable: value})
    assert done.returncode == 2, done.stdout + done.stderr
    assert variable in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert os.environ.get(variable) is None
