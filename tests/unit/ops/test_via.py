"""Other ways between processes: what `athena up` makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.stack import credentials, via
from ops.stack.errors import StackError
from ops.stack.home import Home
from ops.stack.status import look
from ops.stack.supervisor import Options, Supervisor


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    credentials.create_missing(made)
    return made


def specs(home: Home) -> dict[str, dict[str, str]]:
    supervisor = Supervisor(home, Options(port=None), lambda text: None)
    return {spec.name: dict(spec.environment) for spec in supervisor._choose()}


def test_a_process_is_told_its_own_way(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a proxy or a tunnel would be set up, and silently passed by."""
    monkeypatch.setenv(via.KAFKA, "worker=127.0.0.1:1111 worker-1=tunnel.example:2222")
    monkeypatch.setenv(via.POSTGRES, "projector=127.0.0.1:3333")
    monkeypatch.setenv("ATHENA_WORKERS", "2")
    told = specs(home)
    assert told["worker"]["ATHENA_KAFKA_BOOTSTRAP"] == "127.0.0.1:1111"
    assert told["worker-1"]["ATHENA_KAFKA_BOOTSTRAP"] == "tunnel.example:2222"
    assert told["gateway"]["ATHENA_KAFKA_BOOTSTRAP"] == home.kafka.bootstrap
    lines = via.listeners(home, via.ways(via.KAFKA)).splitlines()
    assert f"WORKER_1://127.0.0.1:{home.port('kafka-via-worker-1')}" in lines[0]
    assert "WORKER_1://tunnel.example:2222" in lines[1]
    assert f"PLAINTEXT://{home.kafka.bootstrap}" in lines[1]
    credentials.write_database_urls(home)
    assert "@127.0.0.1:3333/" in home.secret("database-url-projector").read_text()
    assert f"@127.0.0.1:{home.port('postgres')}/" in home.secret("database-url-gateway").read_text()


def test_a_way_that_cannot_be_read_stops_the_start(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a slip of the pen would leave a process on the line that was meant to be avoided."""
    monkeypatch.setenv(via.KAFKA, "worker:127.0.0.1:1111")
    with pytest.raises(StackError, match="ATHENA_KAFKA_VIA"):
        specs(home)


@pytest.mark.parametrize("text", ["0", "17", "two"])
def test_a_wrong_number_of_workers_stops_the_start(home: Home, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Otherwise a typing error would start a stack that decides nothing, or far too much of one."""
    monkeypatch.setenv("ATHENA_WORKERS", text)
    with pytest.raises(StackError, match="ATHENA_WORKERS"):
        specs(home)


def test_workers_have_nothing_in_common(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise two workers would write one store, or throw each other out of the group."""
    monkeypatch.setenv("ATHENA_WORKERS", "3")
    workers = {name: told for name, told in specs(home).items() if name.startswith("worker")}
    assert sorted(workers) == ["worker", "worker-1", "worker-2"]
    for variable in ("ATHENA_DATA_DIR", "ATHENA_INSTANCE_ID", "ATHENA_METRICS_PORT"):
        assert len({told[variable] for told in workers.values()}) == 3


def test_status_misses_every_worker(home: Home) -> None:
    """Otherwise the second worker could be dead while status says that all is up."""
    home.choose(workers=3)
    assert {"worker", "worker-1", "worker-2"} <= set(look(home)["processes"])
