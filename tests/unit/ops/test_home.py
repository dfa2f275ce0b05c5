"""The home: what each process is told, and what stays secret."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from ops.stack import credentials, ports
from ops.stack.errors import StackError
from ops.stack.home import Home
from ops.stack.ports import assign

PORTS = ("gateway", "kafka", "kafka-controller", "postgres", "metrics-worker", "metrics-worker-1", "metrics-gateway")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    assign(made, PORTS, None)
    credentials.create_missing(made)
    credentials.write_database_urls(made)
    return made


def test_secrets_are_readable_by_their_user_alone(home: Home) -> None:
    """Otherwise anyone on the machine could sign tokens or read the audit trail."""
    files = list(home.secrets.iterdir())
    assert len(files) > 5
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(home.secrets.stat().st_mode) == 0o700


def test_environment_names_files_and_never_secrets(home: Home) -> None:
    """Otherwise a secret would show in `ps e` and in crash reports."""
    secrets = [file.read_text().strip() for file in home.secrets.iterdir()]
    for process in ("gateway", "worker", "projector", "owner"):
        values = home.environment(process).values()
        assert not [value for value in values for secret in secrets if secret in value]


def test_a_worker_gets_no_database_and_a_projector_no_keys(home: Home) -> None:
    """Otherwise a hole in one process would open what only another one needs."""
    assert "ATHENA_DATABASE_URL_FILE" not in home.environment("worker")
    assert "ATHENA_TOKEN_KEYS_FILE" not in home.environment("projector")
    assert "ATHENA_TOKEN_KEYS_FILE" in home.environment("gateway")
    assert "athena_projector" in Path(home.environment("projector")["ATHENA_DATABASE_URL_FILE"]).read_text()


def test_two_workers_share_no_folder_and_no_port(home: Home) -> None:
    """Otherwise the second worker could not start: RocksDB locks its folder."""
    first, second = home.environment("worker", 0), home.environment("worker", 1)
    assert first["ATHENA_DATA_DIR"] != second["ATHENA_DATA_DIR"]
    assert first["ATHENA_METRICS_PORT"] != second["ATHENA_METRICS_PORT"]


def test_ports_and_secrets_stay_the_same(home: Home) -> None:
    """Otherwise a restart would change the addresses that people use, and lock the stack out of its database."""
    before = home.choices(), {file.name: file.read_bytes() for file in home.secrets.iterdir()}
    assign(home, PORTS, None)
    credentials.create_missing(home)
    assert (home.choices(), {file.name: file.read_bytes() for file in home.secrets.iterdir()}) == before


def test_a_taken_port_is_changed_and_said(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the broker would die on start because some program took its port while the stack was down."""
    kept = home.port("kafka")
    monkeypatch.setattr(ports, "is_free", lambda port: port != kept)
    (notice,) = assign(home, PORTS, None)
    assert str(kept) in notice
    assert home.port("kafka") != kept


def test_a_taken_port_that_was_asked_for_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise `--port` would silently give another address."""
    monkeypatch.setattr(ports, "is_free", lambda _: False)
    with pytest.raises(StackError, match="--port"):
        assign(home, PORTS, 8123)


def test_token_keys_are_ed25519_with_a_key_id(home: Home) -> None:
    """Otherwise the gateway could neither sign nor rotate."""
    (key,) = json.loads(home.secret(credentials.TOKEN_KEYS).read_text())
    assert (key["kty"], key["crv"]) == ("OKP", "Ed25519")
    assert key["kid"]


def test_a_home_without_a_stack_says_how_to_start_one(tmp_path: Path) -> None:
    """Otherwise a newcomer would see a traceback instead of the next step."""
    with pytest.raises(StackError, match="athena up"):
        Home(tmp_path / "none").endpoints()
    with pytest.raises(StackError, match="athena up"):
        Home(tmp_path / "none").environment("worker")
