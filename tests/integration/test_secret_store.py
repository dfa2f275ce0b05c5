"""Secrets in AWS Secrets Manager, against a server that speaks its protocol."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

import pytest

from ops.secrets.aws import AwsSource
from ops.secrets.process import Secrets
from ops.secrets.unreadable import Unreadable
from ops.settings import load_settings
from tests.integration.secret_store import SecretStore, free_port, secret_store

pytestmark = pytest.mark.xdist_group("secret store")
VARIABLE = "ATHENA_CURSOR_KEY_AWS"


@pytest.fixture(scope="module")
def running() -> Iterator[SecretStore]:
    with secret_store() as one:
        yield one


@pytest.fixture
def store(running: SecretStore, monkeypatch: pytest.MonkeyPatch) -> SecretStore:
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    return running


def test_a_secret_that_rotates_there_is_taken_over(store: SecretStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever rotates secrets in AWS would have to restart every process."""
    store.put("athena/one", json.dumps({"cursor": "a" * 40, "other": 1}))
    monkeypatch.setenv(VARIABLE, "athena/one#cursor")
    secret = Secrets(load_settings()).take("cursor_key", least=32)
    assert secret.current() == "a" * 40
    store.put("athena/one", json.dumps({"cursor": "b" * 40}))
    assert asyncio.run(secret.look())
    assert secret.texts() == ("b" * 40, "a" * 40)


@pytest.mark.parametrize("bad", ["no JSON", '{"cursor": 1}', '{"cursor": "short"}'])
def test_a_bad_value_there_leaves_the_former_one(store: SecretStore, monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    """A slip in the console would stop the product."""
    store.put("athena/two", json.dumps({"cursor": "a" * 40}))
    monkeypatch.setenv(VARIABLE, "athena/two#cursor")
    secret = Secrets(load_settings()).take("cursor_key", least=32)
    store.put("athena/two", bad)
    assert not asyncio.run(secret.look())
    assert secret.current() == "a" * 40


@pytest.mark.parametrize("name", ["athena/none", "athena/binary", "athena/text#key"])
def test_a_secret_that_cannot_be_read_at_the_start_is_named(
    store: SecretStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A process would start without its key, or show what it found instead."""
    if name == "athena/binary":
        store.client.create_secret(Name=name, SecretBinary=b"very-secret")
    store.put("athena/text", "very-secret")
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(SystemExit) as error:
        load_settings()
    assert VARIABLE in str(error.value)
    assert name.partition("#")[0] in str(error.value)
    assert "very-secret" not in str(error.value)


def test_a_store_that_is_away_is_given_up_in_time(store: SecretStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start would hang, or a watch would never look again."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    began = time.monotonic()
    with pytest.raises(Unreadable, match="the network"):
        AwsSource(VARIABLE, "athena/one", 60).read()
    assert time.monotonic() - began < 45
