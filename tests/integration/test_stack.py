"""`athena up` on the real servers: addresses, supervision, `kill -9`, two stacks side by side."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
from collections.abc import Iterator

import psutil
import pytest

from ops.stack.probes import listens, status_of
from ops.stack.state import State
from tests.stack import Stack, athena, down, new_folder, up, wait_until

# One after the other: two cores do not carry several stacks that start at once.
pytestmark = pytest.mark.xdist_group("stacks")


@pytest.fixture(scope="module")
def broken() -> Iterator[Stack]:
    """A stack that these tests break, and mend before they end."""
    folder = new_folder()
    try:
        yield up(folder / "home", "--no-seed")
    finally:
        down(folder / "home")
        shutil.rmtree(folder, ignore_errors=True)


def test_endpoints_name_all_that_a_script_needs(broken: Stack) -> None:
    """Otherwise no script could find the stack it started."""
    found = broken.endpoints
    assert {"gateway", "kafka", "postgres", "metrics", "pids"} <= set(found)
    assert {"kafka", "postgres", "gateway", "worker", "projector"} <= set(found["pids"])
    assert all(psutil.pid_exists(pid) for pid in found["pids"].values())
    assert status_of(f"{found['gateway']}/readyz") == 200
    assert listens(found["kafka"])
    assert stat.S_IMODE(broken.home.endpoints_file.stat().st_mode) == 0o600


def test_no_secret_is_in_a_command_line_or_a_log(broken: Stack) -> None:
    """Otherwise everyone on the machine, and every log collector, would have it."""
    secrets = {file.read_text().strip() for file in broken.home.secrets.iterdir()}
    state = State.read(broken.home)
    assert state is not None
    assert state.supervisor is not None
    processes = [state.supervisor, *state.children.values()]
    texts = [" ".join(psutil.Process(process.pid).cmdline()) for process in processes]
    texts += [log.read_text(errors="replace") for log in broken.home.logs.iterdir()]
    assert not [text for text in texts for secret in secrets if secret in text]


@pytest.mark.parametrize("process", ["gateway", "worker", "projector", "postgres", "kafka"])
def test_a_killed_process_comes_back_at_its_address(broken: Stack, process: str) -> None:
    """Otherwise one crash would need a person, and every client a new address."""
    before = broken.endpoints
    broken.kill(process)
    broken.wait_ready()
    after = broken.endpoints
    assert after["pids"][process] != before["pids"][process]
    assert {key: after[key] for key in ("gateway", "kafka", "postgres", "metrics")} == {
        key: before[key] for key in ("gateway", "kafka", "postgres", "metrics")
    }


def test_up_on_a_running_home_changes_nothing(broken: Stack) -> None:
    """Otherwise a second `up` would tear down what people work with."""
    before = broken.endpoints
    assert up(broken.home.path).endpoints == before


def test_up_with_tls_on_a_running_plain_home_is_refused(broken: Stack) -> None:
    """Otherwise who asked for protected lines would believe that they have them."""
    if broken.home.tls:
        pytest.skip("every stack of this run has TLS")
    done = broken.run("up", "--detach", "--tls")
    assert done.returncode == 1
    assert f"athena down --home {broken.home.path}" in done.stderr
    assert not broken.home.tls


def test_up_comes_back_after_everything_was_killed(broken: Stack) -> None:
    """Otherwise a power button would end the product for good."""
    before = broken.endpoints
    state = State.read(broken.home)
    assert state is not None
    assert state.supervisor is not None
    for process in (state.supervisor, *state.children.values()):
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not any(process.alive() for process in state.children.values()), 10, "killed processes live")
    assert broken.run("status").returncode == 3
    assert up(broken.home.path, "--no-seed").endpoints["gateway"] == before["gateway"]
    assert broken.run("topics", "--check").returncode == 0


def test_up_replaces_what_a_dead_supervisor_left(broken: Stack) -> None:
    """Otherwise two brokers would fight for one folder."""
    before = State.read(broken.home)
    assert before is not None
    assert before.supervisor is not None
    os.kill(before.supervisor.pid, signal.SIGKILL)
    wait_until(lambda: not before.supervisor.alive(), 10, "the supervisor lives")  # type: ignore[union-attr]
    up(broken.home.path, "--no-seed")
    assert not any(process.alive() for process in before.children.values())
    assert json.loads(broken.run("status", "--json").stdout)["ready"]


def test_down_stops_its_own_stack_alone(broken: Stack) -> None:
    """Otherwise ending one test run would end another one's."""
    folder = new_folder()
    try:
        other = up(folder / "home", "--no-seed")
        processes = State.read(other.home)
        assert processes is not None
        assert other.gateway != broken.gateway
        assert athena("down", "--home", str(other.home.path)).returncode == 0
        assert not any(process.alive() for process in processes.children.values())
        assert other.run("status").returncode == 3
        assert json.loads(broken.run("status", "--json").stdout)["ready"]
    finally:
        down(folder / "home")
        shutil.rmtree(folder, ignore_errors=True)
